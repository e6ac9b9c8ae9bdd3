"""The only door to MXNet and d2l, and what must happen right after their import.

Importing this file imports MXNet, for which tuning.py prepares the process, and switches on its NumPy
interface. d2l, which brings matplotlib and IPython along, is imported when somebody asks for it. What was
done is told by `report()`.
"""

import importlib
import importlib.metadata
import os
import platform
import threading

import numpy

from . import tuning
from .cuda import BUILD, installed
from .errors import RuntimeMismatch

__all__ = ['autograd', 'computes_rightly', 'gluon', 'init', 'mx', 'nn', 'np', 'npx', 'report']


def _numpy_in_each_thread():
    """NumPy's shapes and arrays for every thread; `npx.set_np()` is for the one that calls it.

    JupyterLab answers widgets, the playground among them, in a thread of their own.
    """

    class Scope(threading.local):
        def __init__(self):  # runs once in each thread that asks which arrays are meant
            self.value = mx.util._NumpyArrayScope(True)
            mx.util.set_np_shape(True)

    mx.util._NumpyArrayScope._current = Scope()


def _import_mxnet():
    try:
        return importlib.import_module('mxnet')
    except (ImportError, OSError, AttributeError) as error:
        raise RuntimeMismatch(
            'MXNet cannot be imported',
            found=f'{type(error).__name__}: {error}',
            allowed='mxnet 1.9.1 with numpy 1.23 to 1.26',
            remedy="pip install 'mxnet==1.9.1' 'numpy<1.27'",
        ) from error


tuning.check_platform()  # before a missing MXNet is told: elsewhere there is none to install
mx = _import_mxnet()
np, npx, gluon, autograd, init = mx.np, mx.npx, mx.gluon, mx.autograd, mx.init
nn = gluon.nn
npx.set_np()
_numpy_in_each_thread()


def __getattr__(name):
    if name != 'd2l':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = importlib.import_module('d2l.mxnet')
    globals()['d2l'] = module
    return module


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
