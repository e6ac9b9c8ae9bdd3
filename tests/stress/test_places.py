"""Places where nothing can be written or read, for real: full disks, read-only ones, forbidden ones, none."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile

import pytest
from small_models import V, small_net, weights_of

from bertnli import CheckpointError, DataError, Vocab, download_extract, load_checkpoint, save_checkpoint
from bertnli.corpora import files
from bertnli.tokens import RESERVED

VOCAB = Vocab([f'word{n}' for n in range(V - 5)], reserved_tokens=RESERVED)
NOBODY = 65534
needs_root = pytest.mark.skipif(os.getuid() != 0, reason='only root may mount a disk or become another user')


def fill(folder, left=0):
    room = os.statvfs(folder)
    (folder / 'film').write_bytes(b'x' * (room.f_bavail * room.f_frsize - left))


def assert_first(folder):
    """The folder holds the first model still, whole."""
    loaded, expected = weights_of(load_checkpoint(folder).net), weights_of(small_net())
    assert all((loaded[name] == expected[name]).all() for name in expected)
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize('fault', ['full', 'almost full', 'read-only'])
def test_a_model_stands_when_its_disk_takes_no_other(disk, fault):
    folder, remount = disk
    save_checkpoint(folder / 'model', small_net(), VOCAB)
    if fault == 'read-only':
        assert remount('ro') == 0
    else:
        fill(folder, left=8192 if fault == 'almost full' else 0)
    with pytest.raises(CheckpointError, match='cannot be written'):
        save_checkpoint(folder / 'model', small_net(seed=9), VOCAB)
    assert_first(folder / 'model')


@pytest.mark.parametrize('fault', ['full', 'almost full', 'read-only'])
def test_a_cache_on_such_a_disk_is_told_with_a_remedy_and_nothing_torn_stays(disk, fault, monkeypatch):
    folder, remount = disk
    corpus = files.REGISTRY['wikitext-2']
    source = folder.parent / 'data'
    source.mkdir()
    words = ' '.join(str(n * n % 9973) for n in range(20_000))
    with zipfile.ZipFile(source / corpus.archive, 'w') as file:
        for member in corpus.members:
            file.writestr(f'{corpus.folder}/{member}', words)
    monkeypatch.setenv('BERTNLI_CACHE', str(folder))
    if fault == 'read-only':
        assert remount('ro') == 0
    else:
        fill(folder, left=150_000 if fault == 'almost full' else 0)
    with pytest.raises(DataError, match='BERTNLI_CACHE'):
        download_extract('wikitext-2', data_dir=source)
    assert all(path.read_text() == words for path in folder.rglob('*.tokens'))
    assert remount('rw') == 0
    (folder / 'film').unlink(missing_ok=True)
    unpacked = download_extract('wikitext-2', data_dir=source)
    assert len(os.listdir(unpacked)) == 3


# --- another user ---------------------------------------------------------------------------------

# Everything is imported while the files of the environment may still be read.
STRANGER = """
import os, sys
from bertnli import *
from bertnli.corpora import files
from bertnli.errors import BertNLIError
model, data = sys.argv[1:]
loaded = load_checkpoint(model)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
tries = {
    'save': lambda: save_checkpoint(model, loaded.net, loaded.vocab),
    'save inside': lambda: save_checkpoint(model + '/new', loaded.net, loaded.vocab),
    'load hidden': lambda: load_checkpoint(model + '-hidden'),
    'hidden data': lambda: download_extract('SNLI', data_dir=data + '/hidden'),
    'data inside': lambda: download_extract('SNLI', data_dir=data + '/hidden/inside'),
    'hidden archive': lambda: download_extract('SNLI', data_dir=data + '/archive'),
    'read': lambda: read_snli(data, split='dev'),
    'pairs': lambda: next(read_pairs(data + '/snli_1.0_dev.txt')),
}
for name, work in tries.items():
    try:
        work()
        print(name, 'went well')
    except BertNLIError as error:
        print(name, type(error).__name__, error.where is not None)
load_checkpoint(model)
"""


@needs_root
def test_without_permission_every_place_is_told_and_models_stand():
    folder = tempfile.mkdtemp(dir='/tmp')  # pytest's own folders are closed to others
    try:
        os.chmod(folder, 0o755)
        model, data = os.path.join(folder, 'model'), os.path.join(folder, 'data')
        save_checkpoint(model, small_net(), VOCAB)
        save_checkpoint(f'{model}-hidden', small_net(), VOCAB)
        os.makedirs(f'{data}/hidden/inside')
        os.makedirs(f'{data}/archive')
        for name in ('archive/snli_1.0.zip', 'snli_1.0_dev.txt'):
            with open(os.path.join(data, name), 'w') as file:
                file.write('x')
            os.chmod(os.path.join(data, name), 0o600)
        os.chmod(f'{data}/hidden', 0o700)
        for name in os.listdir(f'{model}-hidden'):
            os.chmod(os.path.join(f'{model}-hidden', name), 0o600)
        done = subprocess.run(
            [sys.executable, '-c', STRANGER, model, data],
            capture_output=True,
            text=True,
            timeout=200,
            env={**os.environ, 'BERTNLI_CACHE': os.path.join(folder, 'cache')},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            'save CheckpointError True',
            'save inside CheckpointError True',
            'load hidden CheckpointError True',
            'hidden data DataError True',
            'data inside DataError True',
            'hidden archive DataError True',
            'read DataError True',
            'pairs DataError True',
        ]
        assert_first(files.Path(model))
    finally:
        shutil.rmtree(folder)


# --- no home --------------------------------------------------------------------------------------


def judge(env, become=()):
    """`bertnli evaluate` on a few rows, which looks for its cache, in such an environment."""
    kept = {
        name: os.environ[name] for name in ('PATH', 'PYTHONPATH', 'LD_LIBRARY_PATH') if name in os.environ
    }
    return subprocess.run(
        [*become, sys.executable, '-m', 'bertnli', 'evaluate', '--limit', '5', '--json'],
        capture_output=True,
        text=True,
        timeout=200,
        env={**kept, **env},
        cwd='/',
    )


SLOWER = [pytest.param(home, marks=pytest.mark.slow) for home in ('/nowhere/at/all', '/dev/null')]


@pytest.mark.parametrize('home', [None, 'disk', *SLOWER])
def test_without_a_home_the_work_goes_on(home, request):
    if home == 'disk':
        home, _ = request.getfixturevalue('disk')
        fill(home)
    done = judge({} if home is None else {'HOME': str(home)})
    assert done.returncode == 0, done.stderr
    assert '"accuracy"' in done.stdout
    assert 'Traceback' not in done.stderr


# Another user who may read everything (an environment in root's home is closed to others) and write nothing.
READER = ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups']
READER += ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search']


@needs_root
def test_on_a_read_only_install_of_another_user_the_work_goes_on():
    places = [os.path.dirname(files.__file__), sys.prefix]
    tried = f'import os; print(os.getuid(), [os.access(place, os.W_OK) for place in {places}])'
    try:
        seen = subprocess.run([*READER, sys.executable, '-c', tried], capture_output=True, text=True, cwd='/')
    except FileNotFoundError:
        pytest.skip('needs setpriv, of util-linux')
    if seen.returncode:
        pytest.skip(f'nobody may become another user here: {seen.stderr}')
    assert seen.stdout == f'{NOBODY} [False, False]\n'
    done = judge({}, READER)
    assert done.returncode == 0, done.stderr
    assert '"accuracy"' in done.stdout
    assert 'Traceback' not in done.stderr
