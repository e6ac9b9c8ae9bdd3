"""Choose devices, split a batch over them, and the team of processes that trains one network.

A device is an `mxnet.Context`. Nothing here trains: the trainings receive a list of devices, and a team that
says which part of each batch is theirs.

Legend: B examples in the batch.
"""

import contextlib

from .errors import SettingsError
from .runtime import gluon, mx, parameters_by_path

_MOST = 1024  # copies of a network on one processor


def try_all_gpus():
    """All GPUs of this machine, or `[cpu(0)]` if there is none (chapter section 6.7).

    d2l 1.0.3 returns an empty list there, and the chapter stops.

    >>> len(try_all_gpus()) >= 1
    True
    """
    return [mx.gpu(i) for i in range(mx.context.num_gpus())] or [mx.cpu()]


def cpu_devices(count):
    """`count` devices on the processor, to watch data parallelism where no GPU is.

    They have their own copies of the weights but share the processor: they teach, they do not speed up.
    Raises `SettingsError` unless `count` is a whole number from 1 to 1024.

    >>> cpu_devices(2)
    [cpu(0), cpu(1)]
    """
    if not isinstance(count, int) or not 1 <= count <= _MOST:
        problem, remedy = 'invalid number of devices', 'cpu_devices(2), or --devices cpu:2, makes two'
        raise SettingsError(problem, 'devices', count, f'a whole number from 1 to {_MOST}', remedy)
    return [mx.cpu(i) for i in range(count)]


def devices_of(net):
    """The devices that hold a network's weights."""
    return next(iter(parameters_by_path(net).values())).list_ctx()


def check_devices(devices):
    """`devices` as a list; `SettingsError` if that is a name, or one device alone."""
    if not isinstance(devices, (list, tuple)):
        raise SettingsError('not a list of devices', found=str(devices), allowed='[mx.cpu()], …')
    return list(devices)


def split_batch_multi_inputs(X, y, devices):
    """Split the inputs and the labels of a batch over `devices`, a list (chapter section 16.5).

    `X` is one array `(B, …)` or a sequence of them, `y` is `(B, …)`. Returns two lists with one entry a
    device: input shards (arrays, or tuples of arrays) and label shards. Shards differ by at most one example;
    when there are fewer examples than devices, the last devices get none and the lists are shorter.

    >>> from bertnli.runtime import np
    >>> X, y = split_batch_multi_inputs([np.arange(3), np.arange(3)], np.arange(3), cpu_devices(2))
    >>> [[len(x) for x in shard] for shard in X], [shard.ctx for shard in y]
    ([[2, 2], [1, 1]], [cpu(0), cpu(1)])
    """
    devices = check_devices(devices)[: max(1, len(y))]
    if hasattr(X, 'shape'):  # one input, as images or sentences of a sentiment are
        return _shards(X, devices), _shards(y, devices)
    # Each input is cut at the same places; the shards of one device then go together.
    return list(zip(*(_shards(x, devices) for x in X))), _shards(y, devices)


def _shards(array, devices):
    """Contiguous shards whose sizes differ by at most one, the larger first."""
    if len(devices) == 1:  # nothing to cut
        return [array.as_in_ctx(devices[0])]
    cuts = [share_of(len(array), i, len(devices)) for i in range(len(devices))]
    return [array[start:end].as_in_ctx(device) for (start, end), device in zip(cuts, devices)]


def share_of(count, number, parts):
    """Where part `number` of `parts` begins and ends, of `count` examples.

    >>> [share_of(5, number, 2) for number in range(2)]
    [(0, 3), (3, 5)]
    """
    size, extra = divmod(count, parts)
    return tuple(size * i + min(i, extra) for i in (number, number + 1))


class Alone:
    """A team of one process, which works on whole batches and has nobody to wait for.

    A training asks its team: which examples are mine, what is the sum over all of us. Several processes, on
    one machine or many, are a `bertnli.Cluster`, with the same methods.
    """

    number, count, first = 0, 1, True  # which process this is, of how many; the first one speaks and writes
    exact = True  # whether a step is that of one process with all devices
    store = None  # how processes exchange arrays

    def share(self, X, y):
        """The examples of a batch that this process trains on."""
        return X, y

    def split(self, X, y, devices):
        """This process's part of a batch, over its devices."""
        return split_batch_multi_inputs(X, y, devices)

    def total(self, *groups):
        """Each group of one-element arrays, summed over all processes; nobody waits."""
        return groups

    def trainer(self, parameters, settings, table=None):
        """Adam (Kingma & Ba 2015) on all devices; `table` is the parameter with a row for each word."""
        rate = {'learning_rate': settings.learning_rate}
        # subtle: MXNet may otherwise update on its own store, and then nobody can clip before.
        return gluon.Trainer(parameters, 'adam', rate, kvstore='device', update_on_kvstore=False)

    def sum_gradients(self, trainer, tokens=None):
        """Let every device have the sum of all gradients; `tokens` are the words of the whole batch."""
        trainer.allreduce_grads()

    def update(self, trainer, rate, divisor):
        """Divide the gradients and let every device make the same update."""
        trainer.set_learning_rate(rate)
        trainer.update(divisor)

    def patience(self, awaited):
        """Inside, wait only so long for others."""
        return contextlib.nullcontext()

    def lap(self, name):
        """A part of a step is over: for those who measure."""
