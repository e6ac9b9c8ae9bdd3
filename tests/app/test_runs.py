"""Runs that do not step on each other, and a command whose streams are full, closed, or a terminal."""

import dataclasses
import errno
import fcntl
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from jobs import bertnli, finished, wait_for

from bertnli import CheckpointError, DataError, SettingsError, load_checkpoint, save_checkpoint
from bertnli.app import jobs
from bertnli.app.jobs import Job, finetune
from bertnli.app.process import visible
from bertnli.machine.disk import one_writer, read_regular
from bertnli.settings import PRESETS, ModelSettings, changed
from bertnli.storage.states import Keeper
from bertnli.training import State

pytestmark = pytest.mark.filterwarnings('ignore:.*not in the vocabulary')
DEMO = PRESETS['demo']
TINY = dataclasses.replace(
    DEMO,
    model=ModelSettings(8, 8, 2, 1, max_len=64),
    pretrain=changed(DEMO.pretrain, min_freq=1),
    finetune=changed(DEMO.finetune, num_epochs=1, max_len=64, batch_size=32),
)
COMMAND = [sys.executable, '-m', 'bertnli']
PREDICT = [*COMMAND, 'predict', 'A dog runs.', 'It moves.']


def train(out, preset=TINY, **options):
    return finetune(out, None, None, Job(preset, limit=64, progress=False, **options))


# --- one writer -----------------------------------------------------------------------------------


def test_a_second_training_in_a_folder_is_told_at_once_and_the_first_goes_on(tmp_path):
    with one_writer(tmp_path), pytest.raises(DataError, match='another process writes'):
        train(tmp_path)
    train(tmp_path)
    assert not (tmp_path / '.lock').exists()


def test_the_lock_ends_with_a_killed_process(tmp_path):
    code = (
        'import sys, time\nfrom bertnli.machine.disk import one_writer\n'
        'with one_writer(sys.argv[1]):\n    print("held", flush=True)\n    time.sleep(60)'
    )
    holder = subprocess.Popen([sys.executable, '-c', code, tmp_path], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b'held\n'
    with pytest.raises(DataError), one_writer(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with one_writer(tmp_path):
        pass


@pytest.mark.parametrize('files_lock', [True, False])
def test_a_network_drive_that_locks_files_only_or_nothing(files_lock, tmp_path, monkeypatch):
    real = fcntl.flock

    def flock(descriptor, how):
        if os.path.isdir(f'/proc/self/fd/{descriptor}') or not files_lock:
            raise OSError(errno.EBADF, 'as on NFS')
        real(descriptor, how)

    monkeypatch.setattr(fcntl, 'flock', flock)
    with one_writer(tmp_path):
        if files_lock:
            with pytest.raises(DataError, match='another process'), one_writer(tmp_path):
                pass
        else:
            with one_writer(tmp_path):
                pass


# --- what another run left ------------------------------------------------------------------------


def test_the_model_of_another_run_is_replaced_only_if_it_is_said(tmp_path):
    train(tmp_path)
    before = (tmp_path / 'manifest.json').read_bytes()
    other = dataclasses.replace(TINY, finetune=changed(TINY.finetune, seed=7))
    with pytest.raises(CheckpointError, match='model of another run') as caught:
        train(tmp_path, other)
    assert caught.value.found == 'another first weights, seed'
    assert '--overwrite' in caught.value.remedy
    assert (tmp_path / 'manifest.json').read_bytes() == before
    train(tmp_path)  # the same run again ends the same
    train(tmp_path, other, overwrite=True)
    assert load_checkpoint(tmp_path).notes['run']['seed'] == 7


def test_a_run_from_before_a_setting_was_known_is_the_same_with_its_default(tmp_path):
    train(tmp_path)
    model = load_checkpoint(tmp_path)
    run = {name: value for name, value in model.notes['run'].items() if name != 'new_words'}
    save_checkpoint(tmp_path, model.net, model.vocab, notes={**model.notes, 'run': run})
    train(tmp_path)
    assert load_checkpoint(tmp_path).notes['run']['new_words'] == 0
    settings = changed(TINY.finetune, own_pairs=0.1, new_words=0.5)
    with pytest.raises(CheckpointError, match='model of another run') as caught:
        train(tmp_path, dataclasses.replace(TINY, finetune=settings))
    assert 'new_words' in caught.value.found


def test_a_model_that_does_not_say_how_it_was_trained_is_another(tmp_path):
    (tmp_path / 'manifest.json').write_text('{}')
    with pytest.raises(CheckpointError, match='model of another run'):
        train(tmp_path)


def test_a_demo_replaces_its_own(tmp_path):
    for seed in (0, 1):
        parts = (changed(part, seed=seed) for part in (TINY.pretrain, TINY.finetune))
        names = ('pretrain', 'finetune')
        small = dataclasses.replace(TINY, **dict(zip(names, parts)))
        small = dataclasses.replace(small, pretrain=changed(small.pretrain, num_steps=1, max_len=64))
        jobs.demo(tmp_path, Job(small, limit=64, progress=False), say=lambda _: None)


def test_a_folder_that_was_deleted_is_noticed_at_the_next_save(tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    keep = Keeper(out / 'training', {}, seconds=0)
    for step in (1, 2):
        shutil.rmtree(out)
        with pytest.warns(UserWarning, match='out.* was deleted during the training'):
            keep(step, lambda step=step: State({}, {'steps': step}))
        assert keep.last == step
    keep(3, lambda: State({}, {'steps': 3}))  # and is there again
    assert len(keep.states()) == 2


# --- before the first step ------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['curves.png', 'metrics.json', 'manifest.json'])
def test_a_folder_in_the_place_of_a_result_is_told_before_the_training(name, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match='cannot be written') as caught:
        train(tmp_path)
    assert caught.value.found == f'{name} is not a file'


def test_inputs_longer_than_the_position_table_are_refused(tmp_path):
    long = dataclasses.replace(
        TINY, finetune=changed(TINY.finetune, max_len=65), pretrain=changed(TINY.pretrain, max_len=65)
    )
    with pytest.raises(SettingsError, match='position table'):
        train(tmp_path, long)
    with pytest.raises(SettingsError, match='position table'):
        jobs.pretrain(tmp_path, Job(long))
    bert, vocab = jobs.pretrained('bert-wikitext2', None)
    places = bert.encoder.pos_embedding.shape[1]
    long = dataclasses.replace(TINY, finetune=changed(TINY.finetune, max_len=places + 1))
    with pytest.raises(SettingsError, match='position table'):
        finetune(tmp_path, bert, vocab, Job(long))


@pytest.mark.parametrize('name', ['manifest.json', 'weights', 'vocab'])
def test_a_model_is_read_from_regular_files_only(name, tmp_path):
    folder = shutil.copytree(jobs.__file__.replace('app/jobs.py', 'weights/bert-nli-small'), tmp_path / 'm')
    (path,) = folder.glob(f'{name}*')
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)
    with pytest.raises(OSError, match='not a regular file'):
        read_regular(path)


# --- streams --------------------------------------------------------------------------------------


def shell(line, **options):
    return subprocess.run(line, shell=True, capture_output=True, text=True, timeout=120, **options)


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        ('{} > /dev/full', "the output cannot be written\n  found: 'No space left on device'\n"),
        ('{} --file - <&-', 'standard input is closed\n  remedy: send it a file, or a pipe\n'),
        ('{} >&-', 'standard output is closed\n  remedy: send it to a file, or to /dev/null\n'),
    ],
)
def test_streams_that_are_full_or_closed_are_told(line, said):
    words = [*COMMAND, 'predict'] if '--file' in line else PREDICT
    done = shell(line.format(shlex.join(words)))
    assert (done.returncode, done.stderr) == (2, f'bertnli: {said}')


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path):
    words = shlex.join([*COMMAND, 'data', '--out', str(tmp_path)])
    done = shell(f'{words} <&- 2>&-')
    assert done.returncode == 0
    assert done.stdout.startswith('wikitext-2')
    assert (tmp_path / 'metrics.json').read_text().startswith('{')


def on_a_terminal(words):
    """What a terminal shows."""
    master, slave = pty.openpty()
    process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b''
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(master)
    return process.wait(), shown.decode()


def test_control_characters_are_shown_on_a_terminal_and_untouched_elsewhere(tmp_path):
    pairs = tmp_path / 'pairs.tsv'
    pairs.write_text('A dog\x1b[2J runs.\tIt\x07 moves.\n')
    words = [*COMMAND, 'predict', '--quiet', '--file', str(pairs)]
    code, shown = on_a_terminal(words)
    assert code == 0
    assert 'A dog\\x1b[2J runs.' in shown
    assert 'It\\x07 moves.' in shown
    assert '\x1b' not in shown
    assert 'A dog\x1b[2J runs.' in subprocess.run(words, capture_output=True, text=True).stdout
    code, shown = on_a_terminal([*words[:-1], str(tmp_path / 'no\x1b[2Jfile')])
    assert code == 2
    assert 'no\\x1b[2Jfile' in shown


def test_visible_keeps_tabs_lines_and_letters():
    class Terminal:
        def isatty(self):
            return True

    text = 'é\t犬\n'
    assert visible(text, Terminal()) == text
    assert visible('\r\x9b', Terminal()) == r'\r\x9b'


def test_a_closed_terminal_ends_the_step_and_keeps_the_state(tmp_path):
    master, slave = pty.openpty()
    words = [*COMMAND, 'finetune', '--preset', 'demo', '--bert', 'none', '--limit', '500', '--epochs', '400']
    process = subprocess.Popen(
        [*words, '--batch-size', '20', '--out', str(tmp_path)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, 0x540E, 0)),  # the terminal is its own: TIOCSCTTY
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    os.close(slave)
    before = wait_for(lambda: list((tmp_path / 'training').glob('state-*')))
    os.close(master)
    assert process.wait(60) == 128 + signal.SIGHUP
    assert max((tmp_path / 'training').glob('state-*')) > max(before)


def test_two_commands_at_once_one_is_told_the_other_ends_well(tmp_path):
    words = ['finetune', '--preset', 'demo', '--bert', 'none', '--limit', '200', '--batch-size', '20']
    words += ['--epochs', '3', '--quiet', '--out', tmp_path]
    both = [bertnli(*words) for _ in range(2)]
    ends = sorted(finished(one)[::2] for one in both)
    assert [code for code, _ in ends] == [0, 2]
    assert 'another process writes to this folder' in ends[1][1]
    assert load_checkpoint(tmp_path).notes['train_pairs'] == 200
