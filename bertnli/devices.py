"""Choose devices, split a batch over them, and join the other processes that train the same network.

A device is an `mxnet.Context`. Nothing here trains: the trainings receive a list of devices, and ask
`join_cluster` which part of each batch is theirs. Who starts those processes, launch.py knows.
"""

from .errors import SettingsError
from .runtime import mx

_MOST = 1024  # copies of a network on one processor


def try_all_gpus():
    """All GPUs of this machine, or `[cpu(0)]` if there is none (chapter section 6.7).

    d2l 1.0.3 returns an empty list there, and the chapter stops.

    >>> len(try_all_gpus()) >= 1
    True
    """
    return [mx.gpu(i) for i in range(mx.context.num_gpus())] or [mx.cpu()]


def devices_of(net):
    """The devices that hold a network's weights."""
    return next(iter(net.collect_params().values())).list_ctx()


def cpu_devices(count):
    """`count` devices on the processor, to watch data parallelism where no GPU is.

    They have their own copies of the weights but share the processor: they teach, they do not speed up.

    >>> cpu_devices(2)
    [cpu(0), cpu(1)]
    """
    if not isinstance(count, int) or not 1 <= count <= _MOST:
        raise SettingsError(
            'the number of devices is not usable',
            where='devices',
            found=count,
            allowed=f'a whole number from 1 to {_MOST}',
            remedy='cpu_devices(2), or --devices cpu:2, makes two',
        )
    return [mx.cpu(i) for i in range(count)]


def split_batch_multi_inputs(X, y, devices):
    """Split several inputs and the labels over devices (chapter section 16.5).

    `X` is a sequence of arrays `(B, …)`, `y` is `(B, …)`. Returns two lists with one entry a device: tuples
    of input shards, and label shards. Shards differ by at most one example; when there are fewer examples
    than devices, the last devices get none and the lists are shorter.

    >>> from bertnli.runtime import np
    >>> X, y = split_batch_multi_inputs([np.arange(3), np.arange(3)], np.arange(3), cpu_devices(2))
    >>> [[len(x) for x in shard] for shard in X], [shard.ctx for shard in y]
    ([[2, 2], [1, 1]], [cpu(0), cpu(1)])
    """
    devices = list(devices)[: max(1, len(y))]
    shares = [_shares(x, devices) for x in X]
    return list(zip(*shares)), _shares(y, devices)


def _shares(array, devices):
    """Contiguous shards whose sizes differ by at most one, the larger first."""
    if len(devices) == 1:
        return [array.as_in_ctx(devices[0])]
    cuts = [_share(len(array), i, len(devices)) for i in range(len(devices))]
    return [array[start:end].as_in_ctx(device) for (start, end), device in zip(cuts, devices)]


def _share(count, number, parts):
    """Where part `number` of `count` examples begins and ends."""
    size, extra = divmod(count, parts)
    return tuple(size * i + min(i, extra) for i in (number, number + 1))
