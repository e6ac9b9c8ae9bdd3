"""The only door to MXNet and d2l, and what must happen right after their import.

Importing this file imports MXNet, for which tuning.py prepares the process, and switches on its NumPy
interface. d2l, which brings matplotlib and IPython along, is imported when somebody asks for it. What was
done is told by `report()`.
"""

import ctypes
import importlib
import importlib.metadata
import os
import platform
import threading
import time
from operator import attrgetter, methodcaller

import numpy

from .errors import CheckpointError, RuntimeMismatch
from .machine import tuning
from .machine.cuda import BUILD, installed

_KINDS = ('weight', 'mean', 'variance')  # what a training keeps of each parameter


tuning.check_platform()  # before a missing MXNet is told: elsewhere there is none to install
try:
    import mxnet as mx
except (ImportError, OSError, AttributeError) as error:
    raise RuntimeMismatch(
        'MXNet cannot be imported',
        found=f'{type(error).__name__}: {error}',
        allowed='mxnet 1.9.1 with numpy 1.23 to 1.26',
        remedy="pip install 'mxnet==1.9.1' 'numpy<1.27'",
    ) from error
np, npx, gluon, autograd, init = mx.np, mx.npx, mx.gluon, mx.autograd, mx.init
nn = gluon.nn
npx.set_np()


class _NumpyInEachThread(threading.local):
    """NumPy's shapes and arrays for every thread; `npx.set_np()` is for the one that calls it.

    JupyterLab answers widgets, the playground among them, in a thread of their own.
    """

    def __init__(self):  # runs once in each thread that asks which arrays are meant
        self.value = mx.util._NumpyArrayScope(True)
        mx.util.set_np_shape(True)


def _before_fork():
    """Let MXNet's threads leave Python: it ends them before a fork, which would wait for them for ever."""
    npx.waitall()  # what fails is printed, not raised: nothing stops a fork
    time.sleep(0.02)  # after its last work a thread gives back what Python has lent it


mx.util._NumpyArrayScope._current = _NumpyInEachThread()
os.register_at_fork(before=_before_fork)


def __getattr__(name):
    if name != 'd2l':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = importlib.import_module('d2l.mxnet')
    if not hasattr(module.display, 'set_matplotlib_formats'):  # d2l 0.17 calls it, IPython 9 has moved it
        moved = importlib.import_module('matplotlib_inline.backend_inline')  # lazy: with d2l only
        module.display.set_matplotlib_formats = moved.set_matplotlib_formats
    globals()['d2l'] = module
    return module


# --- what MXNet keeps to itself: every private name of its objects stands here ---------------------

rate_of = attrgetter('_rate')  # the share that an `nn.Dropout` leaves out
epsilon_of = attrgetter('_epsilon')  # what a `LayerNorm` adds to the variance
parameters_of = attrgetter('_params')  # of a trainer, in the order of their numbers
barrier = methodcaller('_barrier')  # of a store: waits until all workers have come here
# Of a network, by their place in it ('encoder.blks.0.…'), as in a file of weights.
parameters_by_path = methodcaller('_collect_params_with_prefix')


def arrays_of_training(trainer, parameters):
    """Weights and Adam's two moments as NumPy arrays by name, after at least one step."""
    found = {}
    for i, parameter in enumerate(parameters):
        mean, variance = trainer._updaters[0].states[number_of(trainer, parameter)]
        arrays = parameter.list_data()[0], mean, variance
        found.update({f'{kind}.{i}': array.asnumpy() for kind, array in zip(_KINDS, arrays)})
    return found


def restore_training(trainer, parameters, arrays, steps):
    """Let weights and Adam continue as after `steps` steps, on all devices.

    Raises `CheckpointError` if `arrays` are not those of such parameters.
    """
    shapes = {f'{kind}.{i}': p.shape for i, p in enumerate(parameters) for kind in _KINDS}
    for name, shape in shapes.items():
        found = getattr(arrays.get(name), 'shape', 'missing')
        if found != shape:
            problem = 'the state is that of another model'
            remedy = 'resume with the model that was trained, or start over'
            raise CheckpointError(problem, found=f'{name} {found}', allowed=f'{name} {shape}', remedy=remedy)
    for i, parameter in enumerate(parameters):
        number = number_of(trainer, parameter)
        weight, *moments = (arrays[f'{kind}.{i}'] for kind in _KINDS)
        for device, updater in zip(parameter.list_ctx(), trainer._updaters):
            # Not `set_data`: it refuses when servers make the updates.
            parameter.data(device)[:] = np.array(weight, ctx=device)
            updater.states[number] = tuple(mx.nd.array(moment, ctx=device) for moment in moments)
            updater.states_synced[number] = True
            # Adam corrects its moments by the number of updates, counted on each device.
            updater.optimizer._all_index_update_counts.setdefault(device.device_id, {})[number] = steps


def number_of(trainer, parameter):
    """The number by which a trainer and its servers know a parameter."""
    return trainer._param2idx[parameter.name]


def init_kvstore(trainer):
    """Give the servers the first weights now, not in the first step."""
    trainer._init_kvstore()
    trainer._init_params()


def replace_gradients(parameter, arrays):
    """Let a parameter keep its gradients in these arrays, one a device."""
    parameter._grad = arrays
    autograd.mark_variables(parameter.list_data(), arrays, parameter.grad_req)


def array(values, device=None):
    """A NumPy array as one of MXNet's, of the same type, sooner than by `np.array`."""
    found = np.empty(values.shape, dtype=values.dtype, ctx=device)
    if _lends(found):
        # MXNet's own copy waits until one of its threads says that nobody reads the array, which is new.
        values = numpy.ascontiguousarray(values, found.dtype)  # which not only NumPy's arrays can be
        ctypes.memmove(numpy.from_dlpack(_Lent(found)).ctypes.data, values.ctypes.data, values.nbytes)
    elif values.size:
        found._sync_copyfrom(values)
    return found


def view(values):
    """An array of MXNet's as one of NumPy's, to be read only: on a processor over the same memory."""
    return numpy.from_dlpack(_Lent(values)) if _lends(values) else values.asnumpy()


def _lends(values):
    return values.size and values.dtype not in (bool, numpy.bool_) and values.ctx.device_type == 'cpu'


class _Lent:
    """What NumPy asks of those who lend it memory: a capsule, and on which device it lies."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, stream=None):
        return self.values.as_nd_ndarray().to_dlpack_for_read()

    def __dlpack_device__(self):
        return 1, 0  # a processor


def is_cross_entropy(loss):
    """Whether a loss is gluon's cross-entropy after softmax, over whole-number labels, without weights."""
    if type(loss) is not gluon.loss.SoftmaxCrossEntropyLoss:
        return False
    return (loss._axis, loss._weight, loss._sparse_label, loss._from_logits) == (-1, None, True, False)


def is_only_weights(layer):
    """Whether a layer need not be called: no hooks, no `forward` of its own, all weights there, a bias."""
    touched = layer._forward_hooks or layer._forward_pre_hooks or 'forward' in vars(layer)
    there = all(parameter._data is not None for parameter in layer._reg_params.values())
    return not touched and there and getattr(layer, 'bias', layer) is not None


def set_dropout(layer, rate):
    """Change the rate of an `nn.Dropout`."""
    layer._rate = rate


def full_name(thing):
    """The class of an object with its module: 'd2l.mxnet.BERTModel'.

    >>> full_name(full_name)
    'builtins.function'
    """
    return f'{type(thing).__module__}.{type(thing).__qualname__}'


def report():
    """What this process runs on, as a dictionary of words: versions, devices and what was changed.

    >>> report()['mxnet']
    '1.9.1'
    """
    return {
        'python': platform.python_version(),
        'mxnet': mx.__version__,
        **{name: _version(name) for name in ('d2l', 'numpy', 'bertnli')},
        **({BUILD: _version(BUILD)} if installed() else {}),
        'platform': f'{platform.system()} {platform.machine()}',
        'processors': str(len(os.sched_getaffinity(0))),
        'gpus': str(mx.context.num_gpus()),
        **tuning.done,
    }


def computes_rightly():
    """Whether MXNet's matrix products agree with NumPy's; old libraries have erred on new processors.

    >>> computes_rightly()
    True
    """
    a = numpy.random.default_rng(0).normal(size=(2, 300, 300)).astype('float32')
    x = np.array(a)
    products = [
        (np.dot(x[0], x[1]), a[0] @ a[1]),
        (npx.batch_dot(x, x), a @ a),
        (npx.fully_connected(x[0], x[1], num_hidden=300, no_bias=True), a[0] @ a[1].T),
    ]
    return all(numpy.allclose(ours.asnumpy(), theirs, atol=1e-2) for ours, theirs in products)


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return 'not installed'
