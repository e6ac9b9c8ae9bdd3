"""What both trainings share: one optimizer with a schedule, a clock, and the course of a run.

A training loop here knows nothing of files or pictures. It tells its progress to a hook, a function that
receives one record (a dictionary of numbers) at every log point, and offers its state to another, `keep`,
after each step. The tasks stand elsewhere.
"""

import collections
import contextlib
import math
import signal
import time
import warnings
from typing import NamedTuple

import numpy as onp

from .cluster.stopwatch import watch
from .cluster.worker import join_cluster
from .devices import split_batch_multi_inputs
from .errors import CheckpointError, NotFinite, SettingsError, _listed, check_finite
from .fast.operators import sum_of_squares
from .machine.signals import Stopped, _noted
from .metrics import Tally
from .runtime import gluon, mx, np


def seed_step(seed, step):
    """Make the dropout of a step a function of the seed and the step's number alone."""
    # Each worker of a cluster drops other units: all of them together are one batch.
    mx.random.seed((seed * 1_000_003 + step + join_cluster().number * 998_244_353) % 2**31)


def trained_parameters(net):
    """The parameters of a classifier that fine-tuning moves: encoder and head, not the pretraining heads."""
    parameters = net.bert.encoder.collect_params()
    parameters.update(net.classifier.collect_params())
    return parameters


def in_parts(X, y, count, updater):
    """Yield a batch in `count` parts, each `(inputs, labels)`; the gradients of all count in the next step.

    `X` is a sequence of arrays `(B, …)`, `y` is `(B, …)`; a batch of fewer examples has fewer parts.
    """
    for number, part in enumerate(zip(*split_batch_multi_inputs(X, y, [y.ctx] * count))):
        if number:
            updater.set_aside()
        yield part


class Updater:
    """Adam (Kingma & Ba 2015) with warm-up, decay, clipping and decoupled weight decay, on all devices.

    `settings` is a `PretrainSettings` or `FinetuneSettings`; `parameters` is what `collect_params()` gives.
    Gradients are sums over the examples of all devices, of all parts of a batch (`in_parts`), and of all
    workers if this process is one of a cluster; `step(number, divisor)` divides them once. Workers send whole
    gradients, but of `table`, the parameter with a row for each word, only the rows of the batch's `tokens`.
    With `dist_async`, where no worker ever sees the whole gradient and the servers update, `SettingsError`
    says which settings are not possible.

    A gradient that is clipped and not finite is a `NotFinite` before any weight changes. Others are not
    waited for: `seen` is what a `Tally` may count of the last one, to be checked when the tally is read.
    """

    def __init__(self, parameters, settings, num_steps, kvstore='device', table=None):
        self.settings, self.num_steps, self.cluster = settings, num_steps, join_cluster()
        self.seen = {}
        if not self.cluster.exact:
            _check_asynchronous(settings)
        self.parameters = [p for p in parameters.values() if p.grad_req != 'null']
        self._aside = []
        # subtle: MXNet may otherwise update on its own store, and then nobody can clip before.
        self.trainer = gluon.Trainer(
            parameters,
            'adam',
            {'learning_rate': settings.learning_rate},
            kvstore=self.cluster.store or kvstore,
            update_on_kvstore=not self.cluster.exact,
        )
        self._table = None if table is None else self.trainer._param2idx[table.name]
        if self.cluster.store:
            self._meet()

    def _meet(self):
        """Give the servers the first weights, and see that everybody has them.

        subtle: left to the first step, MXNet may send gradients before it has fetched the weights. Servers
        would then hold sums of gradients under the same names, which would be fetched as weights.
        """
        self.trainer._init_kvstore()
        self.trainer._init_params()
        with self.cluster.patience('the first weights'):
            for parameter in self.trainer._params:
                for data in parameter.list_data():
                    data.wait_to_read()
        if self.cluster.exact:
            self.cluster.join_small(self.trainer._params, self._table)

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
        """Update all parameters; returns the learning rate that was used.

        `tokens` are those of the whole batch, over all devices and workers.
        """
        self._add_aside()
        rate = self.settings.rate(number, self.num_steps)
        if not self.cluster.exact:
            return self._step_alone(rate, divisor)
        self.trainer.set_learning_rate(rate)
        self._sum_gradients(tokens)
        excess = self._excess(divisor, number, rate)
        if self.settings.weight_decay:
            self._decay(1 - rate * self.settings.weight_decay)
        self.trainer.update(divisor * excess)
        watch.lap('update')
        return rate

    def _sum_gradients(self, tokens):
        if self.cluster.store is None:
            self.trainer.allreduce_grads()
            return
        found = {i: p.list_grad() for i, p in enumerate(self.trainer._params) if p.grad_req != 'null'}
        if self._table is None or tokens is None:
            self.cluster.sum_gradients(found)
        else:
            self.cluster.sum_gradients(found, self._table, onp.unique(tokens.asnumpy()))

    def _step_alone(self, rate, divisor):
        """Send this worker's mean gradient, and take whatever weights the servers have by then."""
        for gradient in self._gradients():
            gradient /= divisor
        self.trainer.step(1)
        return rate

    def devices(self):
        """How many devices of all workers share a batch, and their kind. On others, other units drop out."""
        devices = self.parameters[0].list_ctx()
        return f'{len(devices) * self.cluster.count} x {devices[0].device_type}'

    def weights(self):
        """The parameters as NumPy arrays, in their order; every device has the same."""
        return [p.list_data()[0].asnumpy() for p in self.parameters]

    def set_weights(self, weights):
        """Give all devices the weights of such a list."""
        for parameter, weight in zip(self.parameters, weights):
            # Not `set_data`: it refuses when servers make the updates.
            for data in parameter.list_data():
                data[:] = np.array(weight, ctx=data.ctx)

    def arrays(self):
        """Weights and Adam's two moments by name, after at least one step."""
        moments = self.trainer._updaters[0].states
        found = {f'weight.{i}': weight for i, weight in enumerate(self.weights())}
        for i, parameter in enumerate(self.parameters):
            mean, variance = moments[self.trainer._param2idx[parameter.name]]
            found.update({f'mean.{i}': mean.asnumpy(), f'variance.{i}': variance.asnumpy()})
        return found

    def restore(self, arrays, steps):
        """Continue as after `steps` steps; `CheckpointError` if `arrays` are those of another model."""
        shapes = {
            f'{kind}.{i}': p.shape
            for i, p in enumerate(self.parameters)
            for kind in ('weight', 'mean', 'variance')
        }
        wrong = [name for name, shape in shapes.items() if getattr(arrays.get(name), 'shape', None) != shape]
        if wrong:
            raise CheckpointError(
                'the state is that of another model',
                found=f'{wrong[0]} {getattr(arrays.get(wrong[0]), "shape", "missing")}',
                allowed=f'{wrong[0]} {shapes[wrong[0]]}',
                remedy='continue with the model that was begun, or begin anew',
            )
        self.set_weights([arrays[f'weight.{i}'] for i in range(len(self.parameters))])
        for i, parameter in enumerate(self.parameters):
            index = self.trainer._param2idx[parameter.name]
            for device, updater in zip(parameter.list_ctx(), self.trainer._updaters):
                moments = (arrays[f'{kind}.{i}'] for kind in ('mean', 'variance'))
                updater.states[index] = tuple(mx.nd.array(array, ctx=device) for array in moments)
                updater.states_synced[index] = True
                # Adam corrects its moments by the number of updates, counted on each device.
                counts = updater.optimizer._all_index_update_counts
                counts.setdefault(device.device_id, {})[index] = steps

    def _excess(self, divisor, number, rate):
        """How many times too long the whole gradient is: 1 when it is not clipped."""
        squares = sum_of_squares([p.list_grad()[0] for p in self.parameters])
        if self.settings.clip is None:
            self.seen = {'squares': squares}
            return 1.0
        length = math.sqrt(squares.item()) / divisor
        check_finite("gradient's length", length, number, rate)  # no weight has changed yet
        return max(1.0, length / self.settings.clip)

    def _decay(self, factor):
        for parameter in self.parameters:
            # Biases and norms are vectors; they are left alone.
            if len(parameter.shape) > 1:
                for data in parameter.list_data():
                    data *= factor


def _check_asynchronous(settings):
    """Raise `SettingsError` for what needs the whole gradient, or a rate that the servers are not told."""
    plain = {'warmup': 0.0, 'decay': False, 'weight_decay': 0.0, 'clip': None}
    found = {
        name: getattr(settings, name) for name, value in plain.items() if getattr(settings, name) != value
    }
    if found:
        raise SettingsError(
            'dist_async cannot train with these settings',
            found=', '.join(f'{name}={value}' for name, value in found.items()),
            allowed=', '.join(f'{name}={value}' for name, value in plain.items()),
            remedy='use dist_sync, or --preset chapter',
        )


class Clock:
    """Seconds and items of a run, and a leash: Python may run at most two steps ahead of the devices.

    MXNet returns before the work is done. Without a leash, the queue would hold every batch of an epoch; with
    a wait in each step, the devices would stand still while Python prepares the next. Time counts inside
    `with clock:`; leaving it waits for all that was begun.
    """

    def __init__(self, ahead=2):
        self._ahead, self._pending = ahead, collections.deque()
        self.seconds, self.items, self._start = 0.0, 0, None

    def __enter__(self):
        watch.start()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_):
        self._wait(0)
        self.seconds, self._start = self.elapsed(), None
        watch.stop()

    def elapsed(self):
        """Seconds so far."""
        return self.seconds + (0.0 if self._start is None else time.perf_counter() - self._start)

    def tick(self, results, items):
        """Note a step: the arrays that it ends with, waited for two steps later, and its items."""
        self.items += items
        self._pending.append(results)
        self._wait(self._ahead)
        watch.end_step('losses')

    def _wait(self, allowed):
        while len(self._pending) > allowed:
            with join_cluster().patience('the sums of a step'):
                for array in self._pending.popleft():
                    array.wait_to_read()

    def rate(self):
        """Items a second."""
        return self.items / self.seconds


class State(NamedTuple):
    """All that a training needs to go on: NumPy arrays by name, and numbers as JSON has them."""

    arrays: dict
    numbers: dict


class Course:
    """Where a training stands after a number of whole steps, and the end of each step.

    A loop counts `steps` and fills the rest: the `tally` since the last log point, the `means` of then, the
    `clock`, and in fine-tuning the `best` accuracy on dev, its epoch, and its weights. `start` is a `State`
    to continue from. Random numbers are functions of seed and step, and need no place in it. `log` hands a
    record to `on_log` and adds it to the `history`, which also holds what was logged before `start`.

    At each end of a step `keep(steps, make_state, now)` is called, if there is one: `make_state()` is the
    `State`, and `now` says that it should be kept at once. `keep.last` is the step last kept, or None.
    In a cluster all workers have the same state, and the first one keeps it for all; with `dist_async` nobody
    has it, and nothing is kept.
    """

    def __init__(self, updater=None, keep=None, start=None, on_log=None):
        cluster = join_cluster()
        self.keep = keep if cluster.first and cluster.exact else None
        self.updater, self._signals = updater, []
        self.steps, self.tally, self.means, self.clock = 0, Tally(), {}, Clock()
        self.history, self._on_log = [], on_log
        self.best, self.best_weights = (-1.0, 0), []
        if start:
            self._restore(*start)

    def log(self, **record):
        self.history.append(record)
        if self._on_log:
            self._on_log(record)

    def _state(self):
        arrays = self.updater.arrays()
        arrays.update({f'best.{i}': array for i, array in enumerate(self.best_weights)})
        numbers = {
            'steps': self.steps,
            'devices': self.updater.devices(),
            'tally': self.tally.sums(),
            'means': self.means,
            'seconds': self.clock.elapsed(),
            'items': self.clock.items,
            'best': list(self.best),
            'history': list(self.history),
        }
        return State(arrays, numbers)

    def _restore(self, arrays, numbers):
        self.updater.restore(arrays, numbers['steps'])
        found = numbers.get('devices', self.updater.devices())
        if found != self.updater.devices():
            warnings.warn(
                f'this training began on {found} and goes on on {self.updater.devices()}: '
                'it will end as well, but not with the same bits',
                stacklevel=4,
            )
        self.steps, self.tally, self.means = numbers['steps'], Tally(numbers['tally']), numbers['means']
        self.clock.seconds, self.clock.items = numbers['seconds'], numbers['items']
        self.best, self.history = tuple(numbers['best']), list(numbers['history'])
        self.best_weights = [arrays[f'best.{i}'] for i in range(sum(n.startswith('best.') for n in arrays))]

    def check(self, step, rate):
        """Raise `NotFinite` for a mean or a gradient in the tally that is not finite; `step` is the last."""
        for name, value in [*self.means.items(), ("gradient's length", self.tally['squares'])]:
            check_finite(name, value, self.tally.first_bad(step), rate)

    @contextlib.contextmanager
    def running(self, train_iter=None):
        """Inside, Ctrl-C waits for `end_step`, and SIGTERM does if states are kept; see `_noted`.

        A `NotFinite` that leaves it tells the last good state, and the rows of `train_iter` in that step.
        """
        numbers = (signal.SIGINT, signal.SIGTERM) if self.keep else (signal.SIGINT,)
        try:
            with _noted(*numbers) as self._signals:
                yield
        except NotFinite as error:
            if hasattr(train_iter, 'rows'):
                error.where += f', rows {_listed(train_iter.rows(error.step))} of the data'
            if self.last is not None:
                error.where += f'; last good state: step {self.last}'
            raise

    def end_step(self, now=False):
        """Offer the state to `keep`; raise `Stopped` if a signal came during the step."""
        stop = self._signals[:1]
        if self.keep:
            self.keep(self.steps, self._state, now or bool(stop))
        if stop:
            raise Stopped(stop[0], self.steps, self.last)

    @property
    def last(self):
        """The step of the last state that was kept, or None."""
        return self.keep.last if self.keep else None


def check_steps(num_steps):
    """Raise `SettingsError` unless there is at least one step."""
    if not isinstance(num_steps, int) or num_steps < 1:
        raise SettingsError(
            'the number of steps is not usable', found=num_steps, allowed='a whole number from 1'
        )
