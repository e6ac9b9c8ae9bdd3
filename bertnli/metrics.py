"""Count right answers: sum counts, divide once, and read the sums only when somebody wants to see them.

Reading a number from MXNet waits for everything before it; a tally keeps arrays until a mean is asked for.
"""

import collections
import math
import time

from .devices import Alone, devices_of, split_batch_multi_inputs
from .errors import SettingsError
from .runtime import autograd


class Tally:
    """Named sums of numbers and of one-element arrays, counted on from `sums`, numbers by name.

    >>> from bertnli.runtime import np
    >>> tally = Tally()
    >>> tally.add(loss=np.array(3.0), examples=2)
    >>> tally.add(loss=1.0, examples=2)
    >>> tally.mean('loss', 'examples')
    1.0
    """

    def __init__(self, sums=()):
        self._sums, self._waiting = dict(sums), []
        self.step = self._bad_step = None

    def first_bad(self, otherwise):
        """What `step` was when the first number came that is not finite, as far as sums have been read."""
        return otherwise if self._bad_step is None else self._bad_step

    def add(self, **values):
        """Add to the sums of these names numbers, arrays or lists of them; arrays are not waited for."""
        for name, value in values.items():
            several = value if isinstance(value, list) else [value]
            self._waiting += [(name, one, self.step) for one in several]

    def __getitem__(self, name):
        return self.sums().get(name, 0)

    def sums(self):
        """All sums by name, as numbers; `Tally(sums)` counts on from them."""
        waiting, self._waiting = self._waiting, []
        for name, value, step in waiting:
            value = float(value.item()) if hasattr(value, 'item') else value  # this waits
            if self._bad_step is None and not math.isfinite(value):
                self._bad_step = step
            self._sums[name] = self._sums.get(name, 0) + value
        return dict(self._sums)

    def mean(self, name, by):
        """One sum divided by another; `nan` if nothing was counted."""
        return self[name] / self[by] if self[by] else float('nan')


def correct(scores, labels):
    """How many rows of `scores` `(B, classes)` are highest at `labels` `(B,)`, as an array of one element.

    Of labels that are shares, `(B, classes)`, the largest counts.

    >>> from bertnli.runtime import np
    >>> correct(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1])).item()
    1.0
    """
    predicted = scores.argmax(axis=1).astype('int32')  # (B,)
    labels = labels.argmax(axis=1) if labels.ndim == 2 else labels
    return (predicted == labels.astype('int32')).astype('float32').sum()


def evaluate_accuracy_gpus(net, data_iter, split_f=split_batch_multi_inputs, total=lambda hits: [hits]):
    """The share of right answers over a data set, on the devices that hold `net` (section 13.6).

    `data_iter` yields `(features, labels)`. The workers of a cluster share each batch if `split_f` and
    `total` are those of their `Cluster`. Raises `SettingsError` if there is nothing to evaluate.
    """
    devices = devices_of(net)
    tally = Tally()
    for features, labels in data_iter:
        # Every device answers for its share of the batch; dropout is off.
        X_shards, y_shards = split_f(features, labels, devices)
        with autograd.predict_mode():
            hits = [correct(net(X), y) for X, y in zip(X_shards, y_shards)]
        # Sum counts, divide once: a mean of means would weigh small shares too much.
        tally.add(hits=total(hits)[0], examples=len(labels))
    if not tally['examples']:
        raise SettingsError('there is nothing to evaluate', found='an iterator without batches')
    return tally.mean('hits', 'examples')


class Clock:
    """Seconds and items of a run, and a leash: Python may run at most two steps ahead of the devices.

    MXNet returns before the work is done. Without a leash, the queue would hold every batch of an epoch; with
    a wait in each step, the devices would stand still while Python prepares the next. Time counts inside
    `with clock:`; leaving it waits for all that was begun.
    """

    def __init__(self, team=None):
        self._team, self._pending = team or Alone(), collections.deque()
        self.seconds, self.items, self._start = 0.0, 0, None

    def __enter__(self):
        self._team.lap('begin')
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_):
        self._wait(0)
        self.seconds, self._start = self.elapsed(), None
        self._team.lap('end')

    def elapsed(self):
        """Seconds so far."""
        return self.seconds + (0.0 if self._start is None else time.perf_counter() - self._start)

    def tick(self, results, items):
        """Note a step: the arrays that it ends with, waited for two steps later, and its items."""
        self.items += items
        self._pending.append(results)
        self._wait(2)
        self._team.lap('losses')

    def _wait(self, allowed):
        while len(self._pending) > allowed:
            with self._team.patience('the sums of a step'):
                for array in self._pending.popleft():
                    array.wait_to_read()

    def rate(self):
        """Items a second."""
        return self.items / self.seconds
