"""What every test starts from: one printed seed, no reader's settings, no window for pictures."""

import bertnli  # noqa: F401 (before any file imports NumPy, as commands do: both then end with the same bits)

# isort: split
import os
import random
import signal
import subprocess
import sys

import hypothesis
import pytest
from jobs import LONGER, run

# Cells of notebooks: test_book_cells.py runs them in kernels, pytest imports none.
collect_ignore_glob = ['house/book/*']

SEED = int(os.environ.get('BERTNLI_TEST_SEED', '0'))

REAL_DATA = os.environ.pop('BERTNLI_DATA', None)
os.environ['MPLBACKEND'] = 'Agg'
# A shell script that starts `make test &` hands on an ignored Ctrl-C, to every command that is tested, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# No deadline: the first example of a test may wait for MXNet, and the machine may be busy elsewhere.
hypothesis.settings.register_profile('bertnli', deadline=None, print_blob=True)
hypothesis.settings.load_profile('bertnli')


def pytest_report_header():
    return f'seed: {SEED} (another: BERTNLI_TEST_SEED=7 make test)'


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(SEED)
    if 'numpy' in sys.modules:
        sys.modules['numpy'].random.seed(SEED)
    if 'mxnet' in sys.modules:
        sys.modules['mxnet'].random.seed(SEED)


@pytest.fixture
def real_data():
    """The folder that `BERTNLI_DATA` named when the tests began; without one the test is left out."""
    if not REAL_DATA:
        pytest.skip('BERTNLI_DATA names no real data')
    return REAL_DATA


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder of this test's own."""
    folder = tmp_path / 'cache'
    monkeypatch.setenv('BERTNLI_CACHE', str(folder))
    return folder


@pytest.fixture
def disk(tmp_path):
    """A disk of one megabyte, and a function that mounts it anew with other options."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def mount(options):
        words = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)]
        return subprocess.run(words, capture_output=True).returncode

    if os.getuid() or mount('size=1m'):
        pytest.skip('only root may mount a disk, and not everywhere')
    yield folder, lambda options: mount(f'remount,{options}')
    subprocess.run(['umount', str(folder)], check=True)


@pytest.fixture
def write_snli(tmp_path):
    """A function that writes a file like SNLI's from (label, premise, hypothesis) or raw lines."""

    def write(rows, split='train', end='\n', header=None):
        if header is None:
            names = 'gold_label sentence1_binary_parse sentence2_binary_parse'.split()
            header = '\t'.join([*names, *(f'column{n}' for n in range(11))])
        lines = [
            row if isinstance(row, str) else '\t'.join([row[0], f'( {row[1]} )', f'( {row[2]} )'] + [''] * 11)
            for row in rows
        ]
        path = tmp_path / f'snli_1.0_{split}.txt'
        path.write_bytes(''.join(line + end for line in [header, *lines]).encode('utf-8', 'surrogateescape'))
        return tmp_path

    return write


@pytest.fixture(scope='session')
def alone(tmp_path_factory):
    """Folders of both trainings in one process on one device, made when they are asked for."""
    made = {}

    def folder(command, *more):
        words = (*command, *more)
        if words not in made:
            made[words] = tmp_path_factory.mktemp('alone')
            run(*words, '--devices', 'cpu', '--out', made[words])
        return made[words]

    return folder


@pytest.fixture(scope='session')
def undisturbed(tmp_path_factory):
    """The folder of a job that nobody disturbed."""
    folder = tmp_path_factory.mktemp('undisturbed')
    run('launch', '--', *LONGER, '--out', folder)
    return folder
