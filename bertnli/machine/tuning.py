"""What must happen before MXNet is imported, whoever imports it; nothing here loads it before that.

`import bertnli` puts a finder before Python's own, which prepares the process at the first import of MXNet:
threads, allocator, OpenBLAS (NumPy's, too), and two names that newer Pythons and NumPys dropped.
``BERTNLI_TUNING=off`` leaves threads, allocator and OpenBLAS as they would be without us.
"""

import ctypes
import functools
import importlib
import importlib.machinery
import os
import platform
import sys

from ..errors import RuntimeMismatch

THREADS = 'OMP_NUM_THREADS', 'MXNET_USE_OPERATOR_TUNING', 'OMP_WAIT_POLICY'
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # glibc, <malloc.h>
_LATE = 'not set: MXNet was imported before bertnli; put `import bertnli` into the first cell'
done = {}  # what was changed in this process, in words, for report()


class _Finder:
    """Finds MXNet and NumPy where Python does, and prepares the process at the moment they are executed."""

    def __init__(self, afterwards):
        self._afterwards = afterwards

    def find_spec(self, name, path=None, target=None):
        if name not in ('mxnet', 'numpy'):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec:  # being found is not being imported: find_spec is also asked whether MXNet is installed
            how = self._execute if name == 'mxnet' else _with_kernels
            spec.loader.exec_module = functools.partial(how, spec.loader.exec_module)
        return spec

    def _execute(self, execute, module):
        _prepare()
        try:
            _with_kernels(execute, module)
            self._afterwards()
        except (Exception, KeyboardInterrupt):  # a server of a cluster ends in here, by SystemExit
            _forget_halves()
            raise
        if self in sys.meta_path:
            sys.meta_path.remove(self)


def wait_for_mxnet(afterwards):
    """Prepare the process at the first import of MXNet, unless it is there; then call `afterwards`."""
    there = sys.modules.get('mxnet')
    # After a failed import its library is loaded, too, and has asked for threads and kernels.
    if (there or _forget_halves()) and not done:  # a reload finds what was done here
        done['tuning'] = _LATE
    if not there:
        sys.meta_path.insert(0, _Finder(afterwards))


def _forget_halves():
    """Whether a failed import of MXNet has left files of it behind; the next import needs them all anew."""
    halves = [name for name in sys.modules if name.startswith('mxnet.')]
    for name in halves:
        del sys.modules[name]
    return bool(halves)


def _prepare():
    check_platform()
    if not done:  # neither too late, nor a second attempt
        if _wanted():
            _set_threads()
            _set_allocator()
        else:
            done['threads'] = done['allocator'] = 'unchanged (BERTNLI_TUNING=off)'
    _restore_names()
    _load_gpu_libraries()


def _wanted():
    return os.environ.get('BERTNLI_TUNING', 'on') != 'off'


def check_platform():
    """Raise `RuntimeMismatch` where this library cannot run."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ('Linux', 'x86_64'):
        problem = 'bertnli runs where MXNet 1.9.1 does: on Linux with an x86-64 processor'
        remedy = 'use WSL 2 on Windows, a linux/amd64 container on a Mac, or Google Colab'
        raise RuntimeMismatch(problem, None, f'{system} {machine}', 'Linux x86_64', remedy)


def _set_threads():
    """All processors that this process may use (MXNet would take half), and threads that sleep to wait.

    Waiting threads that spin save a fifth on an idle machine; on a busy one they take the processor from the
    thread they wait for: with two other programs at work a training step took five times as long. MXNet's own
    guess at what threads cost is left out: it would leave most passes over memory to one of them.
    """
    wanted = dict(zip(THREADS, (str(len(os.sched_getaffinity(0))), '0', 'PASSIVE')))
    found = {name: 'as found' if name in os.environ else 'set here' for name in THREADS}
    told = (f'{name}={os.environ.setdefault(name, wanted[name])}, {how}' for name, how in found.items())
    done['threads'] = '; '.join(told)


def _set_allocator():
    """Keep freed memory in the process: glibc gives each large array back to the system, page by page."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library: nothing to set
        done['allocator'] = 'unchanged (no mallopt here)'
        return
    # subtle: a high threshold for mapping would be refused by older versions of glibc; no mapping is not.
    # One arena: the arenas of other threads are heaps of 64 MiB, too small for a batch of word scores.
    wanted = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_ARENA_MAX: 1}
    accepted = min(mallopt(name, value) for name, value in wanted.items()) == 1
    done['allocator'] = 'large arrays kept in the process' if accepted else 'unchanged (refused)'


def _with_kernels(execute, module):
    """Import a module while the processor's family is named to its OpenBLAS, and to nothing else.

    On a processor younger than itself MXNet's OpenBLAS 0.3.13 falls back to kernels of 2004, a third as fast;
    NumPy's 0.3.20 does without its AVX-512, and multiplies many small matrices in twice the time.
    """
    found, name = os.environ.get('OPENBLAS_CORETYPE'), None
    if 'tuning' not in done and _wanted() and found is None:  # else it is too late: the library is loaded
        name = _openblas_family(_cpu_flags())
    if module.__name__ == 'mxnet' and 'tuning' not in done:
        how = f'{found}, as found' if found else f'{name}, named here' if name else 'of its own choice'
        if name and 'numpy' in sys.modules and 'exec_module' not in vars(sys.modules['numpy'].__loader__):
            how += "; NumPy's, which came before bertnli, of its own choice"
        done['openblas'] = f'kernels {how}'
    if name:
        os.environ['OPENBLAS_CORETYPE'] = name
    try:
        execute(module)
    finally:
        if name:
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
    numpy = importlib.import_module('numpy')  # lazy: MXNet is about to load it anyway
    if 'bool' not in vars(numpy):
        numpy.bool = bool
        done['numpy.bool'] = f'put back (numpy {numpy.__version__})'
    if sys.version_info >= (3, 12):
        try:
            importlib.import_module('setuptools')  # installs its own distutils
            importlib.import_module('distutils.version')
        except ImportError as error:
            problem = 'MXNet 1.9.1 needs distutils, which Python 3.12 no longer has'
            raise RuntimeMismatch(problem, None, error, remedy="pip install 'setuptools<81'") from error
        done['distutils'] = 'taken from setuptools'


def _load_gpu_libraries():
    """Put NVIDIA's libraries where MXNet's GPU build finds them, if it is that which is installed."""
    cuda = importlib.import_module('.cuda', __package__)  # lazy: `import bertnli` takes a blink
    found = cuda.load_libraries() if cuda.installed() else {}
    missing = [name for name, where in found.items() if where.startswith('MISSING')]
    if missing:
        problem = f'{cuda.BUILD} cannot even be imported without its libraries'
        found = f'{missing[0]}: {found[missing[0]]}'
        allowed = "NVIDIA's CUDA 11 libraries (make gpu installs them) and its driver for a GPU"
        install = "pip install --force-reinstall --no-deps 'mxnet==1.9.1'"
        remedy = f'go back to the CPU build: pip uninstall {cuda.BUILD}; {install}'
        raise RuntimeMismatch(problem, None, found, allowed, remedy)
