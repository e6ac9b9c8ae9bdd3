"""NVIDIA's libraries are found where pip puts them; what is missing is told with its remedy."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bertnli.machine import cuda

ROOT = Path(__file__).resolve().parents[2]
DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return %(error)d; }
int cuDriverGetVersion(int *version) { *version = 11040; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strcpy(name, "Stub"); return 0; }
int cuDeviceGetAttribute(int *value, int what, int device) { *value = what == 75 ? %(major)d : 0; return 0; }
"""


@pytest.fixture
def compile_library(tmp_path):
    """A function that makes a shared library of C source, as a package of NVIDIA's would bring it."""
    compiler = shutil.which('cc') or shutil.which('gcc')
    if not compiler:
        pytest.skip('no C compiler here')

    def make(name, source='int nothing;', package='stub'):
        folder = tmp_path / 'nvidia' / package / 'lib'
        folder.mkdir(parents=True, exist_ok=True)
        words = [compiler, '-shared', '-fPIC', f'-Wl,-soname,{name}', '-o', folder / name, '-xc', '-']
        subprocess.run(words, input=source, text=True, check=True)
        return folder

    return make


def report(function, *arguments, libraries=None):
    """What a function of cuda.py says in a new process, which has loaded nothing yet."""
    code = (
        f'import json; from bertnli.machine import cuda as c; print(json.dumps(c.{function}(*{arguments!r})))'
    )
    env = {'LD_LIBRARY_PATH': str(libraries or '')}
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT, env=env
    )
    return json.loads(done.stdout)


def test_libraries_are_found_in_the_folders_of_pip(compile_library, tmp_path):
    for number, name in enumerate(cuda.LIBRARIES):
        compile_library(name, package=f'package{number % 3}')
    found = report('load_libraries', str(tmp_path))
    assert {found.pop(name) for name in cuda.LIBRARIES} == {'found'}
    assert set(found) == {cuda.DRIVER}


def test_a_missing_library_is_told_with_the_package_that_brings_it(compile_library, tmp_path):
    for name in [*cuda.LIBRARIES][1:]:
        compile_library(name)
    (tmp_path / 'nvidia/stub/lib/libcudnn.so.8').write_text('torn')
    found = report('load_libraries', str(tmp_path))
    assert found['libcudart.so.11.0'].startswith('MISSING: pip install nvidia-cuda-runtime-cu11')
    assert found['libcudnn.so.8'].startswith('MISSING: pip install nvidia-cudnn-cu11')
    assert found['libnccl.so.2'] == 'found'


@pytest.mark.parametrize(('major', 'words'), [(7, 'can run'), (9, 'has NO code for it')])
def test_a_gpu_is_told_with_its_generation(compile_library, major, words):
    folder = compile_library(cuda.DRIVER, DRIVER % {'error': 0, 'major': major})
    found = report('gpu_report', libraries=folder)
    assert found['driver'] == 'for CUDA 11.4 and older'
    assert f'Stub, generation {major}.0' in found['gpu 0']
    assert words in found['gpu 0']


def test_a_driver_without_a_gpu_is_told(compile_library):
    folder = compile_library(cuda.DRIVER, DRIVER % {'error': 100, 'major': 7})
    assert report('gpu_report', libraries=folder)['gpu'] == 'none that the driver can use'
