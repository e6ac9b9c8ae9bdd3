"""The only door to MXNet and d2l: everything that must happen before and right after their import.

Importing this file prepares the process (threads, allocator, two names that newer Pythons and NumPys
dropped), imports MXNet once and switches on its NumPy interface. d2l, which brings matplotlib and
IPython along, is imported when somebody asks for it. What was done is told by `report()`; setting
``BERTNLI_TUNING=off`` leaves threads, allocator and OpenBLAS as MXNet would have them.
"""

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import sys
import threading

import numpy

from .errors import RuntimeMismatch
from .machine.cuda import BUILD, installed, load_libraries

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # glibc, <malloc.h>
_TUNING = os.environ.get('BERTNLI_TUNING', 'on') != 'off'
_done = {}  # what was changed in this process, in words, for report()


def _check_platform():
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ('Linux', 'x86_64'):
        raise RuntimeMismatch(
            'bertnli runs where MXNet 1.9.1 does: on Linux with an x86-64 processor',
            found=f'{system} {machine}',
            allowed='Linux x86_64',
            remedy='use WSL 2 on Windows, a linux/amd64 container on a Mac, or Google Colab',
        )


def _set_threads():
    """All processors that this process may use, and threads that sleep while they wait.

    MXNet would take half of them (it expects two hyperthreads a core). Waiting threads that spin gain
    little on an idle machine, and on a busy one they take the processor from the thread they wait for:
    with two other programs at work a training step took five times as long.
    """
    wanted = {'OMP_NUM_THREADS': str(len(os.sched_getaffinity(0))), 'OMP_WAIT_POLICY': 'PASSIVE'}
    told = []
    for name, value in wanted.items():
        told.append(
            f'{name}={os.environ.get(name, value)}, {"as found" if name in os.environ else "set here"}'
        )
        os.environ.setdefault(name, value)
    _done['threads'] = '; '.join(told)


def _set_allocator():
    """Keep freed memory in the process: glibc gives each large array back to the system, page by page."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library: nothing to set
        _done['allocator'] = 'unchanged (no mallopt here)'
        return
    # subtle: a high threshold for mapping would be refused by older versions of glibc; no mapping is not.
    # One arena: the arenas of other threads are heaps of 64 MiB, too small for a batch of word scores.
    wanted = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_ARENA_MAX: 1}
    accepted = min(mallopt(name, value) for name, value in wanted.items()) == 1
    _done['allocator'] = 'large arrays kept in the process' if accepted else 'unchanged (refused)'


@contextlib.contextmanager
def _known_processor():
    """Name the processor's family to MXNet's OpenBLAS 0.3.13 while it loads.

    On a processor younger than itself it falls back to kernels of 2004, a third as fast. The name stays in
    the environment only for the import: NumPy and child processes have newer libraries of their own.
    """
    name = _openblas_family(_cpu_flags()) if _TUNING else None
    if 'OPENBLAS_CORETYPE' in os.environ or name is None:
        found = os.environ.get('OPENBLAS_CORETYPE')
        _done['openblas'] = f'kernels {found}, as found' if found else 'kernels of its own choice'
        yield
        return
    os.environ['OPENBLAS_CORETYPE'] = name
    _done['openblas'] = f'kernels {name}, named here'
    try:
        yield
    finally:
        del os.environ['OPENBLAS_CORETYPE']


def _cpu_flags():
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as lines:
            return next((set(line.split()) for line in lines if line.startswith('flags')), set())
    except OSError:
        return set()


def _openblas_family(flags):
    """The newest kernels of OpenBLAS 0.3.13 that a processor with these features can run.

    >>> _openblas_family({'avx2', 'fma', 'sse2'})
    'Haswell'
    """
    if {'avx512f', 'avx512bw', 'avx512dq', 'avx512vl', 'avx512cd'} <= flags:
        return 'SkylakeX'
    return 'Haswell' if {'avx2', 'fma'} <= flags else None


def _restore_names():
    """MXNet 1.9.1 asks for `numpy.bool` (gone since 1.24) and `distutils` (gone since Python 3.12)."""
    if 'bool' not in vars(numpy):
        numpy.bool = bool
        _done['numpy.bool'] = f'put back (numpy {numpy.__version__})'
    if sys.version_info >= (3, 12):
        try:
            importlib.import_module('setuptools')  # installs its own distutils
            importlib.import_module('distutils.version')
        except ImportError as error:
            raise RuntimeMismatch(
                'MXNet 1.9.1 needs distutils, which Python 3.12 no longer has',
                found=str(error),
                remedy="pip install 'setuptools<81'",
            ) from error
        _done['distutils'] = 'taken from setuptools'


def _numpy_in_each_thread():
    """NumPy's shapes and arrays for every thread; `npx.set_np()` is for the one that calls it.

    JupyterLab answers widgets, the playground among them, in a thread of their own.
    """

    class Scope(threading.local):
        def __init__(self):  # runs once in each thread that asks which arrays are meant
            self.value = mx.util._NumpyArrayScope(True)
            mx.util.set_np_shape(True)

    mx.util._NumpyArrayScope._current = Scope()


def _load_gpu_libraries():
    """Put NVIDIA's libraries where MXNet's GPU build finds them, if it is that which is installed."""
    found = load_libraries() if installed() else {}
    missing = [name for name, where in found.items() if where.startswith('MISSING')]
    if missing:
        raise RuntimeMismatch(
            f'{BUILD} cannot even be imported without its libraries',
            found=f'{missing[0]}: {found[missing[0]]}',
            allowed="NVIDIA's CUDA 11 libraries (make gpu installs them) and its driver for a GPU",
            remedy=f'go back to the CPU build: pip uninstall {BUILD}; '
            "pip install --force-reinstall --no-deps 'mxnet==1.9.1'",
        )


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


_check_platform()
if _TUNING:
    _set_threads()
    _set_allocator()
else:
    _done['threads'] = _done['allocator'] = 'unchanged (BERTNLI_TUNING=off)'
_restore_names()
_load_gpu_libraries()
with _known_processor():
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
        **_done,
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


def is_only_weights(layer):
    """Whether a layer need not be called: no hooks, no `forward` of its own, all sizes known, a bias."""
    touched = layer._forward_hooks or layer._forward_pre_hooks or 'forward' in vars(layer)
    known = all(min(parameter.shape) > 0 for parameter in layer._reg_params.values())
    return not touched and known and getattr(layer, 'bias', layer) is not None


def epsilon_of(norm):
    """What a `LayerNorm` adds to the variance."""
    return norm._epsilon


def set_dropout(layer, rate):
    """Change the rate of an `nn.Dropout`."""
    layer._rate = rate


def parameters_by_path(net):
    """All parameters by their place in the network ('encoder.blks.0.…'), as in a file of weights."""
    return net._collect_params_with_prefix()


def full_name(thing):
    """The class of an object with its module: 'd2l.mxnet.BERTModel'.

    >>> full_name(full_name)
    'builtins.function'
    """
    return f'{type(thing).__module__}.{type(thing).__qualname__}'
