"""The door to MXNet: what it changes in a process, in what order, and how it says so."""

import concurrent.futures
import gc
import json
import os
import subprocess
import sys

import numpy
import pytest

from bertnli import runtime

# Counts glibc's separate mappings before and after a large allocation: 1 if it maps, 0 if it keeps.
MAPPED = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in
        'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost'.split()]
libc.mallinfo.restype = Info
before = libc.mallinfo().hblks
libc.malloc(256 * 2**20)
mapped = libc.mallinfo().hblks - before
"""
LOOK = (
    """
import json, os, sys
from bertnli import runtime
"""
    + MAPPED
    + """
print(json.dumps({
    'report': runtime.report(),
    'environment': dict(os.environ),
    'modules': sorted(sys.modules),
    'mapped': mapped,
    'is_np_array': runtime.npx.is_np_array(),
}))
"""
)


def start(code, **environment):
    """Run `code` in a Python of its own, without this process's threads and processor names."""
    ours = (
        'OMP_NUM_THREADS',
        'OMP_WAIT_POLICY',
        'MXNET_USE_OPERATOR_TUNING',
        'OPENBLAS_CORETYPE',
        'BERTNLI_TUNING',
    )
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        [sys.executable, '-c', code],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def look(**environment):
    done = start(LOOK, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def sentence(code):
    """The error that `code` ends with, without the traceback above it."""
    done = start(code)
    assert done.returncode == 1, done.stdout
    return done.stderr[done.stderr.index('bertnli.errors.RuntimeMismatch') :]


@pytest.fixture(scope='module')
def plain():
    return look()


def test_all_processors_compute(plain):
    count = len(os.sched_getaffinity(0))
    assert plain['environment']['OMP_NUM_THREADS'] == str(count)
    assert plain['report']['threads'].startswith(f'OMP_NUM_THREADS={count}, set here')


def test_waiting_threads_sleep(plain):
    assert plain['environment']['OMP_WAIT_POLICY'] == 'PASSIVE'
    assert plain['report']['threads'].endswith('OMP_WAIT_POLICY=PASSIVE, set here')


def test_passes_over_memory_use_all_threads_too(plain):
    assert plain['environment']['MXNET_USE_OPERATOR_TUNING'] == '0'
    assert 'MXNET_USE_OPERATOR_TUNING=0, set here' in plain['report']['threads']


def test_large_arrays_stay_in_the_process(plain):
    assert plain['mapped'] == 0
    assert plain['report']['allocator'] == 'large arrays kept in the process'


def test_the_numpy_interface_is_on(plain):
    assert plain['is_np_array'] is True


FORK = """
import bertnli, os
from bertnli.runtime import autograd, np
net = bertnli.BERTClassifier(bertnli.BERTModel(50, 8, 8, 2, 2, 0.1))
net.initialize()
tokens = np.ones((8, 6), dtype='int32')
for _ in range(20):
    with autograd.record():
        scores = net((tokens, tokens * 0, np.full(8, 6.0)))
    scores.backward()
    del scores
    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_process_can_fork_while_gradients_are_computed():
    done = start(FORK)  # gluon's DataLoader does; the time is up if it hangs
    assert done.returncode == 0, done.stderr


FAILED = """
import bertnli, os
bertnli.runtime.mx.nd.random.normal(0, -1, (2, 2))
if not os.fork():
    os._exit(0)
"""


def test_what_failed_before_a_fork_is_told():
    assert 'scale parameter in gaussian has to be positive' in start(FAILED).stderr


def test_a_new_thread_computes_as_the_main_thread_does():
    layer = runtime.nn.Dense(2)
    layer.initialize()
    features = runtime.np.ones((1, 3))
    here = layer(features).asnumpy()
    with concurrent.futures.ThreadPoolExecutor(1) as elsewhere:
        there = elsewhere.submit(lambda: layer(features).asnumpy()).result()
        scalar = elsewhere.submit(lambda: runtime.np.ones(3).sum().shape).result()
    assert numpy.array_equal(here, there)
    assert scalar == ()


def test_d2l_waits_until_somebody_asks(plain):
    assert 'mxnet' in plain['modules']
    assert not {'d2l', 'IPython', 'matplotlib'} & set(plain['modules'])
    assert runtime.d2l.__name__ == 'd2l.mxnet'
    assert runtime.d2l is runtime.d2l


def test_the_processors_name_does_not_stay_in_the_environment(plain):
    assert 'OPENBLAS_CORETYPE' not in plain['environment']
    assert plain['report']['openblas'].startswith('kernels ')


@pytest.mark.parametrize(('before', 'named'), [('bertnli', True), ('numpy', False)])
def test_numpys_products_have_the_kernels_that_are_named_to_mxnet(before, named):
    code = f"""
import json, {before}, bertnli, numpy, os, threadpoolctl
before = 'OPENBLAS_CORETYPE' in os.environ
from bertnli.machine.tuning import _cpu_flags, _openblas_family
kernels = [one['architecture'] for one in threadpoolctl.threadpool_info() if 'architecture' in one]
print(json.dumps([before, kernels, _openblas_family(_cpu_flags()), bertnli.report()['openblas']]))"""
    left, kernels, family, report = told(code)
    assert not left
    assert len(kernels) == 1
    assert not named or kernels == [family] or family is None
    assert ('NumPy' in report) == (not named and family is not None)


@pytest.mark.parametrize('kind', ['float32', 'int32', 'int64', 'float64', 'bool'])
@pytest.mark.parametrize('shape', [(3, 4), (1,), (0, 2), (2, 3, 5)])
def test_arrays_go_to_mxnet_and_come_back(shape, kind):
    expected = numpy.arange(numpy.prod(shape)).astype(kind).reshape(shape)
    for values in (expected.copy(), expected.T.copy().T):
        theirs = runtime.array(values)
        values[...] = 7  # what was given is not theirs
        for found in (theirs.asnumpy(), runtime.view(theirs)):
            assert found.dtype == kind
            assert numpy.array_equal(found, expected)
        again = runtime.array(theirs)  # a reader's own data set may hold MXNet's
        assert again.asnumpy().dtype == kind
        assert numpy.array_equal(again.asnumpy(), expected)


def test_a_view_waits_for_its_array_sees_its_changes_and_outlives_it():
    theirs = runtime.np.ones((300, 300))
    for _ in range(20):
        theirs = runtime.np.dot(theirs, theirs) / 300
    seen = runtime.view(theirs)
    assert (seen == 1).all()
    theirs[:] = 2
    theirs.wait_to_read()
    assert (seen == 2).all()
    with pytest.raises(ValueError, match='read-only'):
        seen[0] = 3
    del theirs
    gc.collect()
    others = [runtime.np.zeros((300, 300)) for _ in range(9)]
    runtime.npx.waitall()
    assert (seen == 2).all()
    assert len(others) == 9


def test_tuning_can_be_switched_off():
    untouched = look(BERTNLI_TUNING='off')
    assert 'OMP_NUM_THREADS' not in untouched['environment']
    assert untouched['mapped'] == 1
    assert 'off' in untouched['report']['threads']
    assert 'off' in untouched['report']['allocator']


def test_settings_of_the_reader_are_kept():
    kept = look(OMP_NUM_THREADS='1', OPENBLAS_CORETYPE='Haswell')
    assert kept['environment']['OMP_NUM_THREADS'] == '1'
    assert kept['report']['threads'].startswith('OMP_NUM_THREADS=1, as found')
    assert kept['environment']['OPENBLAS_CORETYPE'] == 'Haswell'
    assert kept['report']['openblas'] == 'kernels Haswell, as found'


def test_the_name_that_numpy_dropped_is_put_back():
    assert numpy.bool is bool
    assert runtime.np.ones(2).astype('bool').asnumpy().dtype == numpy.bool_


@pytest.mark.skipif(sys.version_info < (3, 12), reason='distutils is still there')
def test_the_module_that_python_dropped_comes_from_setuptools():
    assert runtime.report()['distutils'] == 'taken from setuptools'
    blocked = "import sys; sys.modules['setuptools'] = None; import bertnli.runtime"
    assert "pip install 'setuptools<81'" in sentence(blocked)


def test_report_tells_versions_and_machine():
    report = runtime.report()
    assert report['mxnet'] == '1.9.1'
    assert report['d2l'] == ('1.0.3' if sys.version_info < (3, 12) else '0.17.0')
    assert report['numpy'] == numpy.__version__
    assert all(isinstance(word, str) for word in report.values())
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize(
    ('system', 'machine', 'way'),
    [
        ('Windows', 'AMD64', 'WSL 2'),
        ('Darwin', 'arm64', 'linux/amd64 container'),
        ('Linux', 'aarch64', 'linux/amd64 container'),
    ],
)
def test_another_platform_gets_one_clear_sentence(system, machine, way):
    said = sentence(f"""
import platform
platform.system, platform.machine = lambda: {system!r}, lambda: {machine!r}
import bertnli.runtime""")
    assert f'{system} {machine}' in said
    assert 'Linux x86_64' in said
    assert way in said


def test_a_broken_mxnet_is_told_with_its_remedy():
    said = sentence("import sys; sys.modules['mxnet'] = None; import bertnli.runtime")
    assert 'MXNet cannot be imported' in said
    assert 'pip install' in said


# --- MXNet imported by the reader -------------------------------------------------------------------

LATER = [
    'import mxnet',
    'from mxnet import autograd, gluon, init, np, npx',
    'from mxnet.gluon import nn',
    'from d2l import mxnet as d2l',
]
# A little of everything that a broken MXNet has lost: operators, gradients, layers.
WORKS = """
from mxnet import autograd, gluon, np, npx
layer = gluon.nn.Dense(3)
layer.initialize()
with autograd.record():
    total = npx.relu(layer(np.ones((2, 4)))).sum()
total.backward()
assert layer.weight.grad().shape == (3, 4)
assert np.ones(2).astype('bool').asnumpy().dtype == 'bool'
assert npx.is_np_array()
"""
TOLD = 'import json, bertnli; print(json.dumps(bertnli.report()))'


def told(code, **environment):
    done = start(code, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize('line', LATER)
def test_mxnet_imported_after_us_is_prepared_as_by_us(plain, line):
    report = told(f'import bertnli\n{line}\n{WORKS}{TOLD}')
    assert report == plain['report']


def test_importing_us_waits_and_asking_for_mxnet_is_not_importing_it():
    code = """
import importlib.util, json, sys
import bertnli
spec = importlib.util.find_spec('mxnet')
print(json.dumps([spec.name, bertnli.machine.tuning.done, 'mxnet' in sys.modules, 'numpy' in sys.modules]))"""
    assert told(code) == ['mxnet', {}, False, False]


def test_nobody_waits_once_mxnet_is_there():
    code = """
import importlib, json, sys
import bertnli, mxnet
importlib.reload(bertnli)
ours = [finder for finder in sys.meta_path if type(finder).__module__ == 'bertnli.machine.tuning']
print(json.dumps([ours, 'tuning' in bertnli.report()]))"""
    assert told(code) == [[], False]


def test_mxnet_before_us_is_told_and_nothing_is_claimed():
    # Where NumPy has no `bool` any more, somebody else has put it back.
    report = told(f"""
import sys, numpy
if 'bool' not in vars(numpy): numpy.bool = bool
if sys.version_info >= (3, 12): import setuptools
import mxnet
{TOLD}
{WORKS}{TOLD}""")
    assert report['tuning'].startswith('not set: MXNet was imported before bertnli')
    assert '`import bertnli`' in report['tuning']
    assert not {'threads', 'allocator', 'openblas', 'numpy.bool', 'distutils'} & set(report)


@pytest.mark.parametrize('line', LATER)
@pytest.mark.parametrize('cause', ['names', 'another'])
def test_after_a_failed_import_of_mxnet_ours_mends_the_same_process(line, cause):
    # 'names' are those that NumPy or Python dropped; the other cause strikes when half of MXNet is there.
    if cause == 'names' and sys.version_info < (3, 12):
        pytest.skip('MXNet finds its names')
    code = f"""
import sys
if {cause!r} == 'another':
    import numpy
    if sys.version_info >= (3, 12): import setuptools
    numpy.bool = bool
    sys.modules['mxnet.gluon.data'] = None
try:
    {line}
except (AttributeError, ImportError):
    failed = True
else:
    failed = False
if {cause!r} == 'another':
    assert failed and any(name.startswith('mxnet.') for name in sys.modules)
    del sys.modules['mxnet.gluon.data']
import bertnli
{line}
{WORKS}{TOLD}"""
    report = told(code)
    assert report['tuning'].startswith('not set: MXNet was imported before bertnli')
    assert ('numpy.bool' in report) == (cause == 'names')


def test_a_second_attempt_after_a_failure_is_told_as_the_first(plain):
    code = f"""
import sys, bertnli
sys.modules['mxnet.gluon.data'] = None
try:
    import mxnet
except ImportError:
    sys.modules.pop('mxnet.gluon.data', None)
assert not [name for name in sys.modules if name.startswith('mxnet')]
import mxnet
{WORKS}{TOLD}"""
    assert told(code) == plain['report']


def test_without_mxnet_its_import_fails_as_ever():
    code = """
import json, sys, bertnli
sys.path[:] = [path for path in sys.path if 'site-packages' not in path]
try:
    import mxnet
except ModuleNotFoundError as error:
    print(json.dumps(error.name))"""
    assert told(code) == 'mxnet'


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match='no attribute'):
        runtime.d3l  # noqa: B018


def test_products_are_right_with_the_chosen_kernels():
    a = numpy.random.default_rng(1).standard_normal((300, 400)).astype('float32')
    b = numpy.random.default_rng(2).standard_normal((400, 500)).astype('float32')
    ours = runtime.np.dot(runtime.np.array(a), runtime.np.array(b)).asnumpy()
    numpy.testing.assert_allclose(ours, a.astype('float64') @ b.astype('float64'), atol=1e-3)
