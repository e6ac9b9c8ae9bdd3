"""What both trainings share: one optimizer with a schedule, and a clock; the tasks stand elsewhere.

A training loop here knows nothing of files or pictures. It tells its progress to a hook, a function that
receives one record (a dictionary of numbers) at every log point.
"""

import collections
import math
import time

from .errors import BertNLIError, SettingsError
from .runtime import gluon, mx

__all__ = ['Clock', 'Updater', 'check_finite', 'check_steps', 'seed_step', 'trained_parameters']


def seed_step(seed, step):
    """Make the dropout of a step a function of the seed and the step's number alone."""
    mx.random.seed((seed * 1_000_003 + step) % 2**31)


def trained_parameters(net):
    """The parameters of a classifier that fine-tuning moves: encoder and head, not the pretraining heads."""
    parameters = net.bert.encoder.collect_params()
    parameters.update(net.classifier.collect_params())
    return parameters


class Updater:
    """Adam (Kingma & Ba 2015) with warm-up, decay, clipping and decoupled weight decay, on all devices.

    `settings` is a `PretrainSettings` or `FinetuneSettings`; `parameters` is what `collect_params()` gives.
    Gradients are sums over the examples of all devices; `step(number, divisor)` divides them once.
    """

    def __init__(self, parameters, settings, num_steps, kvstore='device'):
        self.settings, self.num_steps = settings, num_steps
        self.parameters = [p for p in parameters.values() if p.grad_req != 'null']
        # subtle: MXNet may otherwise update on its own store, and then nobody can clip before.
        self.trainer = gluon.Trainer(
            parameters,
            'adam',
            {'learning_rate': settings.learning_rate},
            kvstore=kvstore,
            update_on_kvstore=False,
        )

    def step(self, number, divisor):
        """Update all parameters; returns the learning rate that was used."""
        rate = self.settings.rate(number, self.num_steps)
        self.trainer.set_learning_rate(rate)
        self.trainer.allreduce_grads()
        if self.settings.weight_decay:
            self._decay(1 - rate * self.settings.weight_decay)
        self.trainer.update(divisor * self._excess(divisor))
        return rate

    def _excess(self, divisor):
        """How many times too long the whole gradient is: 1 when it is not clipped."""
        if self.settings.clip is None:
            return 1.0
        gradients = [p.list_grad()[0].as_nd_ndarray() for p in self.parameters]
        squares = mx.nd.multi_sum_sq(*gradients, num_arrays=len(gradients))
        return max(1.0, math.sqrt(squares.sum().asscalar()) / divisor / self.settings.clip)

    def _decay(self, factor):
        for parameter in self.parameters:
            # Biases and norms are vectors; they are left alone.
            if len(parameter.shape) > 1:
                for data in parameter.list_data():
                    data *= factor


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
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_):
        self._wait(0)
        self.seconds += time.perf_counter() - self._start

    def tick(self, results, items):
        """Note a step: the arrays that it ends with, waited for two steps later, and its items."""
        self.items += items
        self._pending.append(results)
        self._wait(self._ahead)

    def _wait(self, allowed):
        while len(self._pending) > allowed:
            for array in self._pending.popleft():
                array.wait_to_read()

    def rate(self):
        """Items a second."""
        return self.items / self.seconds


def check_finite(name, value, step):
    """Raise `BertNLIError` if a loss has become infinite or undefined."""
    if not math.isfinite(value):
        raise BertNLIError(
            f'the {name} is no longer a finite number',
            where=f'step {step + 1}',
            found=value,
            remedy='lower the learning rate, add warm-up, or clip the gradient (clip=1.0)',
        )


def check_steps(num_steps):
    """Raise `SettingsError` unless there is at least one step."""
    if not isinstance(num_steps, int) or num_steps < 1:
        raise SettingsError(
            'the number of steps is not usable', found=num_steps, allowed='a whole number from 1'
        )
