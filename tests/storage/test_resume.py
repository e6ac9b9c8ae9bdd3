"""Real faults: a run that was killed, interrupted, out of room or damaged goes on, and ends bit-equal."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as onp
import pytest
import safetensors.numpy
from small_models import V, labelled_pairs, pretraining_batch, small_bert, small_net, weights_of

from bertnli import (
    PRESETS,
    Batches,
    BertNLIError,
    CheckpointError,
    FinetuneSettings,
    Keeper,
    ModelSettings,
    PretrainSettings,
    cpu_devices,
    finetuning,
    train_bert,
    train_nli,
)
from bertnli.app import jobs as recipes
from bertnli.machine.signals import Stopped
from bertnli.runtime import gluon, np, npx
from bertnli.settings import changed
from bertnli.training import State

LOSS = gluon.loss.SoftmaxCrossEntropyLoss()

# A process that has loaded the library already begins each life of a run, which saves seconds a life.
SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(['bertnli.app.jobs'])

HARD = {'weight_decay': 0.1, 'clip': 1.0, 'batch_size': 16}  # all that the optimizer can do
CHOSEN = dataclasses.replace(
    PRESETS['demo'],
    model=ModelSettings(
        num_hiddens=16, ffn_num_hiddens=12, num_heads=2, num_layers=1, dropout=0.1, max_len=64
    ),
    pretrain=changed(PRESETS['demo'].pretrain, num_steps=45, count_first=True, **HARD),
    finetune=changed(  # the second epoch is best
        PRESETS['demo'].finetune, num_epochs=4, seed=1, align_first=True, **HARD
    ),
)


@pytest.fixture(scope='module', autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('BERTNLI_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield


def score(net, dev_iter, *_):
    """In place of the accuracy, which tells little after so few steps: each bit of the weights counts."""
    return sum(float(array.astype('float64').sum()) for array in weights_of(net).values()) * 1000 % 1


@pytest.fixture(autouse=True)
def _score(monkeypatch):
    monkeypatch.setattr(finetuning, 'evaluate_accuracy_gpus', score)


def job(kind, out, resume=False, chosen=CHOSEN, seconds=0, overwrite=False):
    """A run that keeps its state after each step, and writes down each record that it reports."""

    def on_log(record):
        with open(out / 'log', 'a', encoding='utf-8') as file:
            file.write(json.dumps(record) + '\n')

    recipes.Keeper = functools.partial(Keeper, seconds=seconds)
    try:
        options = {'on_log': on_log, 'progress': False, 'resume': resume, 'overwrite': overwrite}
        if kind == 'pretrain':
            return recipes.pretrain(out, recipes.Job(chosen, **options))
        return recipes.finetune(out, None, None, recipes.Job(chosen, limit=128, **options))
    finally:
        recipes.Keeper = Keeper


def cached_job(cache, kind, out, resume):
    # As in any other process; else a lock of tqdm's is missed aloud after a kill.
    multiprocessing.set_start_method('fork', force=True)
    os.environ['BERTNLI_CACHE'] = cache
    finetuning.evaluate_accuracy_gpus = score
    job(kind, out, resume)


def live(kind, out, resume=True, seconds=None):
    """One life of a run, in a process that is killed after some seconds; returns its exit code."""
    out.mkdir(exist_ok=True)
    process = SERVER.Process(target=cached_job, args=(os.environ['BERTNLI_CACHE'], kind, out, resume))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode


def outcome(out):
    """All that must not depend on kills: the checksum of the weights, the numbers, every record."""
    metrics = json.loads((out / 'metrics.json').read_text())
    clock = ('seconds', 'per_second', 'versions')
    kept = {name: value for name, value in metrics.items() if not name.endswith(clock)}
    records = [json.loads(line) for line in (out / 'log').read_text().splitlines()]
    # A record may be told twice, before a kill and after; then it must be the same twice.
    records = {json.dumps(record) for record in records}
    names = {path.name for path in out.iterdir()} - {'log', 'metrics.json', 'manifest.json'}
    return names, kept, records


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    """Of each kind one run that nobody disturbs: its folder and the seconds it took."""
    found = {}
    for kind in ('pretrain', 'finetune'):
        out = tmp_path_factory.mktemp(kind)
        live(kind, out, False)  # fills the cache
        (out / 'log').unlink()
        start = time.monotonic()
        assert live(kind, out, False) == 0
        found[kind] = out, time.monotonic() - start
    return found


# --- kill -9 --------------------------------------------------------------------------------------


@pytest.mark.parametrize('kills', [10, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize('kind', ['pretrain', 'finetune'])
def test_a_run_killed_at_random_moments_and_resumed_ends_bit_equal(kind, kills, undisturbed, tmp_path):
    whole, seconds = undisturbed[kind]
    expected, rng, killed, lives, ends = outcome(whole), random.Random(kills), 0, 0, 0
    while killed < kills or lives:
        out = tmp_path / str(ends)
        code = live(kind, out, lives > 0, rng.uniform(0, seconds) if killed < kills else None)
        assert code in (0, -signal.SIGKILL)
        killed, lives = killed + (code != 0), lives + 1
        if code == 0:
            assert outcome(out) == expected
            ends, lives = ends + 1, 0
    print(f'{killed} kills, {ends} runs ended')


def test_a_run_that_has_ended_is_not_repeated_and_another_one_is_refused(undisturbed, capsys):
    whole, _ = undisturbed['pretrain']
    before = outcome(whole)
    bert, vocab, metrics = job('pretrain', whole, resume=True)
    assert 'already finished' in capsys.readouterr().out
    assert outcome(whole) == before
    assert metrics.items() <= json.loads((whole / 'metrics.json').read_text()).items()
    assert metrics['vocabulary'] == len(vocab) == bert.encoder.token_embedding.weight.shape[0]
    other = dataclasses.replace(CHOSEN, pretrain=changed(CHOSEN.pretrain, seed=1))
    with pytest.raises(CheckpointError, match='a different run') as caught:
        job('pretrain', whole, resume=True, chosen=other)
    assert 'seed: 0' in caught.value.found
    assert 'seed: 1' in caught.value.allowed


@contextlib.contextmanager
def warned(pattern):
    """A warning that fits must be seen, whatever MXNet warns of besides."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        yield
    assert any(re.search(pattern, str(one.message)) for one in seen)


class Halt(Exception):
    """The run ends here, as if it had been killed."""


def halted(kind, out, at, monkeypatch, **options):
    """A run that ends in the middle of a step: after the update, before its state is kept."""
    update, steps = gluon.Trainer.update, []

    def counted(self, divisor):
        update(self, divisor)
        steps.append(divisor)
        if len(steps) == at:
            raise Halt

    with monkeypatch.context() as patch:
        patch.setattr(gluon.Trainer, 'update', counted)
        with pytest.raises(Halt):
            job(kind, out, **options)


@pytest.mark.parametrize('kind', ['pretrain', 'finetune'])
def test_two_states_are_kept_and_a_new_run_replaces_them(kind, tmp_path, monkeypatch):
    def kept():
        return sorted(int(path.name.split('-')[1]) for path in (tmp_path / 'training').iterdir())

    halted(kind, tmp_path, 12, monkeypatch)
    assert kept() == [10, 11]
    (tmp_path / 'training' / '.state-000000012-x.safetensors-y').touch()  # of a process killed while writing
    halted(kind, tmp_path, 5, monkeypatch, resume=True)
    assert kept() == [14, 15]
    with pytest.raises(CheckpointError, match='has not finished') as caught:
        job(kind, tmp_path)
    assert '--overwrite' in caught.value.remedy
    assert kept() == [14, 15]
    halted(kind, tmp_path, 3, monkeypatch, overwrite=True)
    assert kept() == [1, 2]


@pytest.mark.parametrize('older', [0, 1, 3])
def test_as_many_older_states_are_kept_as_asked_for_also_after_a_resume(older, tmp_path):
    memory = Memory()
    train('pretrain', keep=memory)
    for first, end in ((1, 7), (7, 12)):
        keep = Keeper(tmp_path, {}, seconds=0, older=older)
        assert first == 1 or keep.load().numbers['steps'] == 6
        for step in range(first, end):
            keep(step, lambda step=step: memory.states[step])
            kept = sorted(int(path.name.split('-')[1]) for path in tmp_path.iterdir())
            assert kept == list(range(max(1, step - older), step + 1))


def test_without_a_state_it_starts_from_the_beginning_and_says_so(undisturbed, tmp_path, capsys):
    job('pretrain', tmp_path, resume=True)
    assert 'starting from the beginning' in capsys.readouterr().out
    assert outcome(tmp_path)[0] == outcome(undisturbed['pretrain'][0])[0]
    assert not (tmp_path / 'training').exists()


@pytest.mark.parametrize(
    ('kind', 'other', 'names'),
    [
        ('pretrain', {'learning_rate': 0.5, 'num_steps': 99}, ['learning_rate: 0.5', 'num_steps: 99']),
        ('pretrain', {'count_first': False}, ['count_first: False']),
        ('pretrain', {'pair_text': True}, ['pair_text: True', 'words: ', 'train pairs: ']),
        ('finetune', {'seed': 5}, ['seed: 5', 'first weights: ']),
        ('finetune', {'align_first': False}, ['align_first: False', 'first weights: ']),
        ('finetune', {'max_len': 9}, ['max_len: 9', 'train content: ', 'dev content: ']),
    ],
)
def test_other_settings_and_data_are_refused_by_name(kind, other, names, tmp_path, monkeypatch):
    halted(kind, tmp_path, 3, monkeypatch)
    chosen = dataclasses.replace(CHOSEN, **{kind: changed(getattr(CHOSEN, kind), **other)})
    with pytest.raises(CheckpointError, match='a different run') as caught:
        job(kind, tmp_path, resume=True, chosen=chosen)
    assert [name for name in names if name not in caught.value.allowed] == []


def test_a_setting_that_is_younger_than_the_state_was_its_default(tmp_path):
    run = {'job': 'pretrain', **dataclasses.asdict(CHOSEN.pretrain)}
    older = {name: value for name, value in run.items() if name != 'accumulate'}
    memory = Memory()
    train('pretrain', keep=memory)
    Keeper(tmp_path, older)(3, lambda: memory.states[3], now=True)
    assert Keeper(tmp_path, run).load().numbers['steps'] == 3
    with pytest.raises(CheckpointError, match='a different run') as caught:
        Keeper(tmp_path, {**run, 'accumulate': 2}).load()
    assert caught.value.found == 'accumulate: 1'


def test_another_bert_is_refused(tmp_path, monkeypatch):
    halted('finetune', tmp_path, 3, monkeypatch)
    chosen = dataclasses.replace(CHOSEN, model=changed(CHOSEN.model, dropout=0.2))
    with pytest.raises(CheckpointError, match='a different run') as caught:
        job('finetune', tmp_path, resume=True, chosen=chosen)
    assert 'dropout=0.2' in caught.value.allowed


# --- the loops themselves -------------------------------------------------------------------------


class Rows:
    """Examples whose batches are a function of rows and generator, as those of the library are."""

    def __init__(self, make, count=23):
        self.make, self.lengths = make, onp.arange(count) % 5

    def __len__(self):
        return len(self.lengths)

    def batch(self, rows, rng):
        batch = self.make(len(rows), seed=int(rng.integers(1000)))
        return batch if len(batch) == 7 else (batch[0], batch[1])


def train(kind, devices=None, **options):
    """A small training with dropout; returns all weights and what the records say."""
    records, net = [], (small_bert if kind == 'pretrain' else small_net)(devices, dropout=0.3)
    data = Batches(Rows(pretraining_batch if kind == 'pretrain' else labelled_pairs), 4, seed=3)
    options = {'on_log': records.append, 'progress': False, **options}
    if kind == 'pretrain':
        settings = PretrainSettings(num_steps=20, learning_rate=1e-2, warmup=0.3, decay=True)
        train_bert(data, net, LOSS, V, devices, log_interval=7, settings=settings, **options)
    else:
        settings = FinetuneSettings(num_epochs=3, learning_rate=1e-2, clip=0.5, weight_decay=0.1)
        dev = [labelled_pairs(9)]
        records.append(train_nli(net, data, dev, settings, devices, **options))
        records[-1] = dataclasses.replace(records[-1], seconds=0, examples_per_second=0)
    return weights_of(net), records


class Memory:
    """A `keep` that remembers all states, and stops a training when told to."""

    def __init__(self):
        self.last, self.states, self.now = None, {}, []

    def __call__(self, steps, make_state, now=False):
        self.last, self.states[steps] = steps, make_state()
        self.now += [steps] * now


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('kind', ['pretrain', 'finetune'])
def test_a_training_continued_from_any_of_its_states_ends_bit_equal(kind, count):
    devices, memory = cpu_devices(count), Memory()
    expected, records = train(kind, devices, keep=memory)
    assert list(memory.states) == list(range(1, 21 if kind == 'pretrain' else 19))
    assert memory.now == ([] if kind == 'pretrain' else [6, 12, 18])  # the ends of epochs
    for step in (1, 5, 6, 7, 13, max(memory.states)):
        arrays, numbers = memory.states[step]
        state = State(arrays, json.loads(json.dumps(numbers)))
        weights, rest = train(kind, devices, start=state)
        assert all((weights[name] == array).all() for name, array in expected.items())
        assert rest == records[len(records) - len(rest) :]


@pytest.mark.parametrize('kind', ['pretrain', 'finetune'])
def test_on_another_number_of_devices_it_goes_on_and_says_that_the_bits_will_differ(kind):
    memory = Memory()
    train(kind, keep=memory)
    with warned('began on 1 x cpu and continues on 2 x cpu'):
        _, records = train(kind, cpu_devices(2), start=memory.states[6])
    assert records


def test_keeping_states_changes_nothing():
    for kind in ('pretrain', 'finetune'):
        (kept, records), (plain, others) = train(kind, keep=Memory()), train(kind)
        assert all((kept[name] == array).all() for name, array in plain.items())
        assert records == others


def test_a_state_of_another_model_is_refused_before_anything_changes():
    memory = Memory()
    train('pretrain', keep=memory)
    with pytest.raises(CheckpointError, match='another model'):
        train('finetune', start=memory.states[3])


def test_seconds_and_items_count_on():
    memory = Memory()
    train('pretrain', keep=memory)
    numbers = memory.states[9].numbers
    assert numbers['items'] == 23 + 4 + 4 + 4  # an epoch of 23 examples in 6 steps, and three steps more
    seconds = [state.numbers['seconds'] for state in memory.states.values()]
    assert seconds == sorted(seconds)
    again = Memory()
    train('pretrain', keep=again, start=memory.states[9])
    assert again.states[10].numbers['seconds'] > numbers['seconds']
    assert again.states[20].numbers['items'] == memory.states[20].numbers['items']


def test_a_loss_that_is_no_number_tells_rate_and_last_good_state_and_is_not_kept(tmp_path):
    settings, net = PretrainSettings(num_steps=20, learning_rate=1e-2), small_bert()
    keep = Keeper(tmp_path, {}, seconds=0)

    def spoil(record):
        if record['step'] == 4:
            net.mlm.mlp[2].weight.set_data(np.full(net.mlm.mlp[2].weight.shape, onp.nan))

    batch = pretraining_batch(4)
    with pytest.raises(BertNLIError, match='no longer a finite number') as caught:
        train_bert(
            [batch], net, LOSS, V, log_interval=2, settings=settings, keep=keep, on_log=spoil, progress=False
        )
    assert caught.value.where == 'step 5, learning rate 0.01; last good state: step 3'
    state = Keeper(tmp_path, {}).load()
    assert state.numbers['steps'] == 3
    assert all(onp.isfinite(array).all() for array in state.arrays.values())


# --- Ctrl-C, SIGTERM and SIGHUP -------------------------------------------------------------------


def send(number, at, to=None):
    """A hook that sends a signal to this process at the `at`-th record."""
    records = []

    def on_log(record):
        records.append(record)
        if len(records) == at:
            os.kill(os.getpid(), number)

    return on_log


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize('kind', ['pretrain', 'finetune'])
def test_a_signal_ends_the_step_keeps_the_state_and_leaves_the_handlers(kind, number):
    former, memory = signal.getsignal(number), Memory()
    expected, _ = train(kind, keep=Memory())
    with pytest.raises(KeyboardInterrupt, match='the state of step') as caught:
        train(kind, keep=memory, on_log=send(number, 2))
    assert (caught.value.signal, signal.getsignal(number)) == (number, former)
    assert memory.now[-1] == memory.last == max(memory.states)
    weights, _ = train(kind, start=memory.states[memory.last])
    assert all((weights[name] == array).all() for name, array in expected.items())


def test_the_interrupt_button_leaves_a_net_of_whole_steps():
    devices = cpu_devices(2)
    net, memory = small_bert(devices), Memory()
    options = {'settings': PretrainSettings(num_steps=9), 'log_interval': 1, 'progress': False}
    with pytest.raises(Stopped, match=r'^interrupted after step 2$'):
        train_bert([pretraining_batch(4)], net, LOSS, V, devices, on_log=send(signal.SIGINT, 2), **options)
    other = small_bert(devices)
    train_bert([pretraining_batch(4)], other, LOSS, V, devices, keep=memory, **options)
    expected = [array for name, array in memory.states[2].arrays.items() if name.startswith('weight')]
    for device in devices:
        found = weights_of(net, device).values()
        assert all((array == other).all() for array, other in zip(found, expected))


def test_a_second_ctrl_c_does_not_wait():
    def twice(record):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as caught:
        train('pretrain', on_log=twice)
    assert not isinstance(caught.value, Stopped)
    assert time.monotonic() - start < 9
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_after_the_last_step_is_not_lost(monkeypatch):
    monkeypatch.setattr('bertnli.metrics.Clock.__exit__', lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train('pretrain')


def test_in_another_thread_signals_are_left_alone():
    results = []

    def work():
        npx.set_np()  # MXNet asks each thread anew
        results.append(train('pretrain', keep=Memory()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(results) == 1


def test_a_worker_that_is_forked_meanwhile_ends_when_it_is_told():
    codes = []

    def on_log(record):
        worker = multiprocessing.get_context('fork').Process(target=time.sleep, args=(30,))
        worker.start()
        time.sleep(0.2)
        worker.terminate()
        worker.join(10)
        codes.append(worker.exitcode)

    train('pretrain', keep=Memory(), on_log=on_log)
    assert set(codes) == {-signal.SIGTERM}


ENVIRONMENT = {**os.environ, 'PYTHONUNBUFFERED': '', 'PYTHONWARNINGS': 'error::UserWarning'}
COMMAND = ['pretrain', '--preset', 'demo', '--steps', '60', '--batch-size', '32', '--out']


def start_command(words, number=None, steps=0):
    """Run the command, send it a signal when that many steps are done; returns code, stdout, stderr."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'bertnli', *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    seen = b''
    while number and not any(int(done) >= steps for done in re.findall(rb'(\d+)/60 ', seen)):
        piece = os.read(process.stderr.fileno(), 4096)
        assert piece, seen
        seen += piece
    if number:
        process.send_signal(number)
    out, err = process.communicate(timeout=120)
    return process.returncode, out.decode(), (seen + err).decode()


def test_the_command_stops_with_130_143_or_129_says_how_to_go_on_and_ends_bit_equal(tmp_path):
    whole, parts = tmp_path / 'whole', tmp_path / 'in parts'
    demo = PRESETS['demo']
    chosen = dataclasses.replace(demo, pretrain=changed(demo.pretrain, num_steps=60, batch_size=32))
    recipes.pretrain(whole, recipes.Job(chosen, progress=False))
    words = [*COMMAND, str(parts)]
    for number, code, steps in ((signal.SIGINT, 130, 5), (signal.SIGTERM, 143, 25), (signal.SIGHUP, 129, 30)):
        found, _, errors = start_command(words, number, steps)
        assert found == code, errors
        assert 'Traceback' not in errors
        *_, first, second = errors.splitlines()
        assert re.fullmatch(r'bertnli: interrupted after step (\d+); the state of step \1 is kept', first)
        before, hint = second.split('bertnli: to resume: bertnli ')
        words = shlex.split(hint)
        assert (before, words) == ('', [*COMMAND, str(parts), '--resume'])
    code, said, errors = start_command(words)
    assert code == 0, errors
    assert 'resuming after step' in said
    names = [{path.name for path in out.iterdir()} for out in (whole, parts)]
    assert names[0] == names[1]


# --- damage ---------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def kept(tmp_path_factory):
    """A folder with two states of a real run, as bytes by name; and the run."""
    folder = tmp_path_factory.mktemp('kept')
    keep = Keeper(folder, {'seed': 1}, seconds=0)
    train('finetune', keep=keep)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def folder_of(tmp_path, contents):
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return Keeper(tmp_path, {'seed': 1})


def damages(content):
    """Every 64th cut, and single flipped bits: in the header, and anywhere."""
    for part in range(64):
        yield content[: len(content) * part // 64]
    rng = random.Random(0)
    for place in [*range(40), *(rng.randrange(len(content)) for _ in range(200))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        yield bytes(flipped)
    yield content + b'\0'


def test_a_damaged_state_falls_back_to_the_older_one_and_then_is_an_error(kept, tmp_path):
    newest = max(kept)
    alone, both = tmp_path / 'alone', tmp_path / 'both'
    alone.mkdir(), both.mkdir()
    assert folder_of(both, kept).load().numbers['steps'] == 18
    for count, content in enumerate(damages(kept[newest])):
        with pytest.raises(CheckpointError, match='damaged'):
            folder_of(alone, {newest: content}).load()
        if count % 16 == 0:
            with warned('an older state is used'):
                state = folder_of(both, {newest: content}).load()
            assert state.numbers['steps'] == 17
    assert count == 304


def test_after_a_fall_back_the_damaged_state_does_not_stay(kept, tmp_path):
    older, newest = sorted(kept)
    keep = folder_of(tmp_path, {older: kept[older], newest: b''})
    with warned('an older state is used'):
        state = keep.load()
    keep(18, lambda: state, now=True)
    assert sorted(int(path.name.split('-')[1]) for path in tmp_path.iterdir()) == [17, 18]
    assert keep.load() is not None


@pytest.mark.parametrize('name', ['state-000000018.safetensors', 'state-', 'state-000000018-' + 'f' * 64])
def test_foreign_files_are_errors(name, kept, tmp_path):
    for content in (b'', b'{}', next(iter(kept.values()))):
        with pytest.raises(CheckpointError, match='damaged'):
            folder_of(tmp_path, {name: content}).load()


def test_right_checksums_around_nonsense_are_errors(tmp_path, kept):
    def text(content):
        return {'described': onp.frombuffer(json.dumps(content).encode(), onp.uint8)}

    for arrays in ({}, {'described': onp.zeros(3)}, text([]), text({}), text({'format': 1})):
        content = safetensors.numpy.save(arrays)
        name = f'state-000000001-{hashlib.sha256(content).hexdigest()}.safetensors'
        with pytest.raises(CheckpointError, match='damaged'):
            folder_of(tmp_path, {name: content}).load()
        (tmp_path / name).unlink()
    content = safetensors.numpy.save(text({'format': 2, 'run': {}, 'numbers': {}}))
    name = f'state-000000001-{hashlib.sha256(content).hexdigest()}.safetensors'
    with pytest.raises(CheckpointError, match='unknown state format'):
        folder_of(tmp_path, {name: content}).load()


def test_the_state_of_another_run_is_refused_by_what_differs(kept, tmp_path):
    folder_of(tmp_path, kept)
    with pytest.raises(CheckpointError, match='a different run') as caught:
        Keeper(tmp_path, {'seed': 2, 'pairs': 5}).load()
    assert caught.value.found == 'pairs: None, seed: 1'
    assert caught.value.allowed == 'pairs: 5, seed: 2'


def test_states_are_kept_when_it_is_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr('bertnli.storage.states.time.monotonic', lambda: now[0])
    memory = Memory()
    train('pretrain', keep=memory)
    keep = Keeper(tmp_path, {}, seconds=60)
    for steps, seconds in enumerate([159.9, 160.0, 219.0, 220.0], start=1):
        now[0] = seconds
        keep(steps, lambda steps=steps: memory.states[steps])
        assert keep.last == (None, 2, 2, 4)[steps - 1]
    keep(5, lambda: memory.states[5], now=True)
    assert keep.last == 5


# --- no room, no permission -----------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['pretrain', 'finetune'])
def test_on_a_full_disk_the_states_stand_and_with_room_again_the_run_ends_bit_equal(
    kind, undisturbed, disk, monkeypatch
):
    out, _ = disk
    halted(kind, out, 5, monkeypatch)
    names = sorted(path.name for path in (out / 'training').iterdir())
    room = os.statvfs(out)
    (out / 'film').write_bytes(b'x' * (room.f_bavail * room.f_frsize - 4096 * 2))
    with warned('not kept.*No space'), pytest.raises(CheckpointError, match='cannot be written'):
        job(kind, out, resume=True)
    assert sorted(path.name for path in (out / 'training').iterdir()) == names
    (out / 'film').unlink()
    job(kind, out, resume=True)
    assert outcome(out) == outcome(undisturbed[kind][0])


def test_on_a_disk_that_became_read_only_the_states_stand(disk, monkeypatch):
    out, remount = disk
    halted('finetune', out, 5, monkeypatch)
    keep = Keeper(out / 'training', {})
    names = sorted(path.name for path in (out / 'training').iterdir())
    assert remount('ro') == 0
    memory = Memory()
    train('finetune', keep=memory)
    keep.last = 4
    with warned('not kept.*[Rr]ead-only'):
        keep(5, lambda: memory.states[5], now=True)
    assert (keep.last, sorted(path.name for path in (out / 'training').iterdir())) == (4, names)
    assert remount('rw') == 0


def test_in_a_folder_that_cannot_be_written_the_training_goes_on(tmp_path):
    (tmp_path / 'file').touch()
    with warned('the state after step 1 is not kept'):
        _, records = train('pretrain', keep=Keeper(tmp_path / 'file' / 'training', {}, seconds=0))
    assert len(records) == 3
