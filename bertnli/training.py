"""What both trainings share: an optimizer with a schedule, and all that surrounds the steps.

The loops of pretraining.py and finetuning.py say what a step is. Here is the rest: a `Run` tells its progress
to `on_log`, a function that receives a dictionary of numbers at every log point, and offers its state to
`keep` after each step, so that a training can continue where it was stopped.

Legend: B examples in the batch.
"""

import contextlib
import math
import warnings
from typing import NamedTuple

from tqdm.auto import tqdm

from .devices import Alone, split_batch_multi_inputs
from .errors import NotFinite, SettingsError, check_finite
from .fast.operators import sum_of_squares
from .machine.signals import Stopped, noted_signals
from .metrics import Clock, Tally
from .runtime import arrays_of_training, full_name, mx, np, restore_training


def seed_step(seed, step, number=0):
    """Make dropout a function of `seed`, the number of a `step` and that of a process, `number`, alone."""
    # Each process of a team drops other units: all of them together are one batch.
    mx.random.seed((seed * 1_000_003 + step + number * 998_244_353) % 2**31)


def trained_parameters(net):
    """The parameters of classifier `net` that fine-tuning moves: encoder and head, no pretraining heads."""
    parts = [getattr(getattr(net, 'bert', net), 'encoder', None), getattr(net, 'classifier', None)]
    if parts[1] is None:  # the class that edition 1.0.3 writes in its notebook
        parts[1:] = [getattr(net, name, None) for name in ('hidden', 'output')]
    if None in parts:
        raise SettingsError('not a classifier around a BERT', found=full_name(net), allowed='BERTClassifier')
    parameters = parts[0].collect_params()
    for part in parts[1:]:
        parameters.update(part.collect_params())
    return parameters


class Updater:
    """Adam (Kingma & Ba 2015) with warm-up, decay, clipping and decoupled weight decay, on all devices.

    `parameters` are what `collect_params()` gives, `settings` a `PretrainSettings` or `FinetuneSettings`,
    whose schedule takes `num_steps`. Gradients are sums over the examples of all devices, all parts of a
    batch and the whole `team` (a `Cluster`; None: this process); `step(number, divisor)` divides them once.
    `table` is the parameter with a row for each word, if a team need not send all of it.

    A gradient that is clipped and not finite is a `NotFinite` before any weight changes. Others are not
    waited for: `seen` is what a `Tally` may count of the last one, to be checked when the tally is read.
    """

    def __init__(self, parameters, settings, num_steps, team=None, table=None):
        self.settings, self.num_steps, self.team = settings, num_steps, team or Alone()
        self.parameters = [p for p in parameters.values() if p.grad_req != 'null']
        self.trainer = self.team.trainer(parameters, settings, table)
        self.seen, self._aside = {}, []

    def _gradients(self):
        return [gradient for p in self.parameters for gradient in p.list_grad()]

    def set_aside(self):
        """Keep the gradients of a part of the batch, over which the next part will write its own.

        This waits for them: if MXNet went on to the next part meanwhile, it would need the memory of both.
        """
        self._add_aside()
        self._aside = [gradient.copy() for gradient in self._gradients()]
        for gradient in self._aside:
            gradient.wait_to_read()

    def _add_aside(self):
        for gradient, earlier in zip(self._gradients(), self._aside):
            gradient += earlier
        self._aside = []

    def step(self, number, divisor, tokens=None):
        """Update all parameters; returns the learning rate. `tokens` are those of the team's whole batch."""
        self._add_aside()
        # The learning rate rises, then falls.
        rate = self.settings.rate(number, self.num_steps)
        # From every device and every process of the team: one gradient.
        self.team.sum_gradients(self.trainer, tokens)
        # Too long a gradient is shortened.
        shorten = self._clip_factor(divisor, number, rate)
        # Matrices shrink a little; biases and norms, which are vectors, never do.
        if self.settings.weight_decay:
            for parameter in self.parameters:
                for data in parameter.list_data() if len(parameter.shape) > 1 else ():
                    data *= 1 - rate * self.settings.weight_decay
        # Adam's own step, the same on every device.
        self.team.update(self.trainer, rate, divisor * shorten)
        self.team.lap('update')
        return rate

    def _clip_factor(self, divisor, number, rate):
        """By what the gradient must be divided to be no longer than allowed: 1 when it is not clipped."""
        squares = sum_of_squares([p.list_grad()[0] for p in self.parameters])
        if self.settings.clip is None:
            self.seen = {'squares': squares}
            return 1.0
        length = math.sqrt(squares.item()) / divisor
        check_finite("gradient's length", length, number, rate)  # no weight has changed yet
        return max(1.0, length / self.settings.clip)

    def weights(self):
        """The parameters as NumPy arrays, in their order; every device has the same."""
        return [p.list_data()[0].asnumpy() for p in self.parameters]

    def set_weights(self, weights):
        """Give all devices the weights of such a list."""
        for parameter, weight in zip(self.parameters, weights):
            # Not `set_data`: it refuses when servers make the updates.
            for data in parameter.list_data():
                data[:] = np.array(weight, ctx=data.ctx)


class State(NamedTuple):
    """All that a training needs to continue: NumPy arrays by name, and numbers as JSON has them."""

    arrays: dict
    numbers: dict


class Run:
    """All that surrounds the steps of a training, so that its loop is what the book tells.

    It counts `steps`, adds up losses in a `tally`, shows a bar (`progress`), checks that numbers are finite,
    hands records to `on_log` and its `history`, and remembers the `best` epoch. `updater` is an `Updater`, or
    None if the caller changes the weights; `start` is a `State` to continue from.

    A step ends when the next batch is asked for. Then `keep(steps, make_state, now)` is called, if there is
    one: `make_state()` is the `State`, `now` says that it should be kept at once, and `keep.last` is the step
    last kept, or None. Inside, Ctrl-C (and SIGTERM, if states are kept) waits for the end of the step and is
    `Stopped`. In a team only the first process keeps states; one whose steps are not exact has none.
    """

    def __init__(self, updater=None, *, keep=None, start=None, on_log=None, progress=True):
        self.updater = updater
        self.team = updater.team if updater else Alone()
        self.keep = keep if self.team.first and self.team.exact else None
        if updater:  # how many devices of the team share a batch, and their kind
            devices = updater.parameters[0].list_ctx()
            self._devices = f'{len(devices) * self.team.count} x {devices[0].device_type}'
        self.steps, self.tally, self.means = 0, Tally(), {}
        self.clock, self.history, self.best, self.best_weights = Clock(self.team), [], (-1.0, 0), []
        self._on_log, self._progress, self._resumed = on_log, progress, bool(start)
        self._signals, self._train_iter, self._bar = [], None, None
        if start:
            self._restore(*start)

    def batches(self, train_iter, until, title, unit='step', done=0):
        """Yield `(inputs, labels)` until step `until`; `train_iter` is begun anew as often as needed.

        All steps are ended here but the last one, which is the caller's to end. Raises `SettingsError` for an
        iterator without batches. Ends with the loop over it, also by an error.
        """
        if self._resumed:
            train_iter.skip(self.steps)
            self._resumed = False
        # As long as it takes: epoch after epoch.
        self._train_iter, batches = train_iter, _endless(train_iter)
        shown = {'initial': self.steps - done, 'desc': title, 'unit': unit, 'disable': not self._progress}
        with self.clock, tqdm(total=until - done, **shown) as self._bar:
            while self.steps < until:
                *X, y = next(batches)  # the labels come last
                X, y = self.team.share(X[0] if len(X) == 1 else X, y)
                self.team.lap('batch')
                # The same dropout in this step, whatever was drawn before.
                if self.updater:
                    seed_step(self.updater.settings.seed, self.steps, self.team.number)
                yield X, y
                # The loop is back for more: its step is over.
                if self.steps < until:
                    self.end_step()

    def parts(self, X, y):
        """Yield the batch in `settings.accumulate` parts, at most one an example, whose gradients add up."""
        devices = [y.ctx] * self.updater.settings.accumulate
        for number, part in enumerate(zip(*split_batch_multi_inputs(X, y, devices))):
            if number:
                self.updater.set_aside()
            yield part

    def step(self, divisor, tokens, items, **sums):
        """One update by the gradients over `divisor`, and the step's `items` examples.

        `sums` are what the tally adds up: numbers, or lists of one-element arrays, one from each device.
        `tokens` `(B, T)` are the words of the batch.
        """
        self.team.lap('forward and backward')
        rate = self.updater.step(self.steps, divisor, tokens)
        # Losses and right answers of the whole team, which nobody waits for.
        arrays = {name: value for name, value in sums.items() if isinstance(value, list)}
        sums.update(zip(arrays, self.team.total(*arrays.values())))
        self.count(rate, items, **self.updater.seen, **sums)

    def count(self, rate, items, **sums):
        """Count a step that was made; Python runs at most two steps ahead of the devices."""
        self.rate, self.tally.step = rate, self.steps
        self.tally.add(**sums)
        self.clock.tick([one for value in sums.values() if isinstance(value, list) for one in value], items)
        self._bar.update()
        self.steps += 1

    def average(self, **means):
        """Means since the tally was new, each `(sum, count)` by name; raises `NotFinite` if one is not."""
        self.means = {name: self.tally.mean(*pair) for name, pair in means.items()}
        for name, value in [*self.means.items(), ("gradient's length", self.tally['squares'])]:
            check_finite(name, value, self.tally.first_bad(self.steps - 1), self.rate)
        self._bar.set_postfix({name: f'{value:.3f}' for name, value in self.means.items()})

    def log(self, **record):
        """Add a record to the history, and tell it."""
        self.history.append(record)
        if self._on_log:
            self._on_log(record)

    def keep_best(self, score, epoch):
        """Remember the weights if no epoch was as good."""
        if score > self.best[0]:
            self.best, self.best_weights = (score, epoch), self.updater.weights()

    def end_step(self, now=False):
        """Offer the state to `keep`; raise `Stopped` if a signal came during the step."""
        stop = self._signals[:1]
        if self.keep:
            self.keep(self.steps, self._state, now or bool(stop))
        if stop:
            raise Stopped(stop[0], self.steps, self.last)

    def __enter__(self):
        self._around = contextlib.ExitStack()
        self._signals = self._around.enter_context(noted_signals(bool(self.keep)))
        if self.updater:
            # Steps seed the random numbers for themselves; afterwards they are again a function of the
            # reader's own seed.
            after = np.random.randint(0, 2**31 - 1).item()
            self._around.callback(lambda: mx.random.seed(after))
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, NotFinite):
            if hasattr(self._train_iter, 'rows'):
                rows = self._train_iter.rows(error.step)
                listed = ', '.join(map(str, rows[:10])) + (', …' if len(rows) > 10 else '')
                error.where += f', rows {listed} of the data'
            if self.last is not None:
                error.where += f'; last good state: step {self.last}'
        return self._around.__exit__(kind, error, trace)

    @property
    def last(self):
        """The step of the last state that was kept, or None."""
        return self.keep.last if self.keep else None

    def _state(self):
        arrays = arrays_of_training(self.updater.trainer, self.updater.parameters)
        arrays.update({f'best.{i}': array for i, array in enumerate(self.best_weights)})
        numbers = {'steps': self.steps, 'devices': self._devices, 'tally': self.tally.sums()}
        numbers.update(means=self.means, seconds=self.clock.elapsed(), items=self.clock.items)
        numbers.update(best=list(self.best), history=list(self.history))
        return State(arrays, numbers)

    def _restore(self, arrays, numbers):
        restore_training(self.updater.trainer, self.updater.parameters, arrays, numbers['steps'])
        found = numbers.get('devices', self._devices)
        if found != self._devices:
            told = f'this training began on {found} and continues on {self._devices}'
            warnings.warn(f'{told}: it will end as well, but not with the same bits', stacklevel=4)
        self.steps, self.tally, self.means = numbers['steps'], Tally(numbers['tally']), numbers['means']
        self.clock.seconds, self.clock.items = numbers['seconds'], numbers['items']
        self.best, self.history = tuple(numbers['best']), list(numbers['history'])
        self.best_weights = [arrays[f'best.{i}'] for i in range(sum(n.startswith('best.') for n in arrays))]


def _endless(train_iter):
    """The batches of epoch after epoch."""
    while True:
        batch = None
        # subtle: one iterator an epoch; whoever asks for a second begins another epoch.
        for batch in train_iter:
            yield batch
        if batch is None:
            raise SettingsError('there is nothing to train on', found='an iterator without batches')
