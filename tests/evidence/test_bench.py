"""The benchmark: every work can be measured on both sides, and the two sides are what they claim to be.

How fast anything is, no test here says; machines are too noisy for that.
"""

import json
import math
import multiprocessing.dummy
import os
import subprocess
import sys
import types

import pytest
from click.testing import CliRunner

from bertnli import SettingsError, runtime
from bertnli.app.cli import main
from bertnli.evidence import bench

# Tiny vocabularies lack many words.
pytestmark = pytest.mark.filterwarnings('ignore:.*not in the vocabulary')

SIDES = ('chapter', 'our')
SETTINGS = ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY', 'OPENBLAS_CORETYPE')


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """A batch and a network so small that a measurement takes a moment."""
    monkeypatch.setattr(bench, 'BATCH', 8)
    monkeypatch.setattr(bench, 'MAX_LEN', 32)
    monkeypatch.setattr(bench, 'UNITS', 8)
    monkeypatch.setattr(bench, 'FFN', 8)
    # subtle: the chapter forks, and MXNet's threads in this process do not survive that. Threads in place of
    # processes, in this file only; the command's test below forks where nobody is hurt.
    threads = types.SimpleNamespace(get_context=lambda _: multiprocessing.dummy)
    monkeypatch.setattr(bench, 'multiprocessing', threads)
    # The corpora are cut, too; the numbers are asked for in the chapter's sizes.
    read_wiki, read_snli = bench.read_wiki, bench.read_snli
    monkeypatch.setattr(bench, 'read_wiki', lambda *a, **k: read_wiki(*a, **k)[:60])
    monkeypatch.setattr(
        bench, 'read_snli', lambda *a, limit=None, **k: read_snli(*a, limit=min(limit, 100), **k)
    )


@pytest.mark.parametrize('side', SIDES)
@pytest.mark.parametrize('work', bench.WORKS)
def test_every_work_is_measured_on_both_sides(side, work):
    found = bench.measure(side, work, 'sample', 1)
    assert found['numbers']
    assert all(math.isfinite(number) and number > 0 for number in found['numbers'])
    assert found['peak_mb'] > 0


def test_the_machine_has_a_matrix_rate():
    assert bench._our_machine(None, 1, size=64)[0] > 0


def test_plain_operations_are_those_counted_by_hand_for_two_examples():
    # Lengths 2 and 3, two layers, 8 units, 8 units of feed-forward: forward, each word takes 4 * 64 + 2 * 64
    # multiplications of dense layers and 2 * 8 * T of attention in each layer; an addition for each of them,
    # and the backward pass twice the forward one.
    words = 2 * (384 + 16 * 2) + 3 * (384 + 16 * 3)
    assert bench._plain_operations([2, 3]) == 3 * 2 * 2 * words / 2


@pytest.fixture
def child(monkeypatch):
    """Runs `compare` up to its child processes and returns the environment that each side would get."""

    def environments(**existing):
        for name in (*SETTINGS, 'BERTNLI_TUNING'):
            monkeypatch.delenv(name, raising=False)
        for name, value in existing.items():
            monkeypatch.setenv(name, value)
        seen = {}

        def run(command, env, **_):
            side = command[command.index('bertnli.evidence.bench') + 1]
            seen[side] = env
            answer = json.dumps({'numbers': [2.0 if side == 'our' else 1.0], 'peak_mb': 3})
            return subprocess.CompletedProcess(command, 0, f'noise\n{answer}\n', '')

        monkeypatch.setattr(bench.subprocess, 'run', run)
        return seen, bench.compare(['snli_dataset'], rounds=2, scale=1, say=lambda _: None)

    return environments


def test_the_chapter_runs_with_none_of_our_settings(child):
    # This process has set threads and waits for itself, in the environment that children inherit.
    seen, _ = child(OMP_NUM_THREADS='2', OMP_WAIT_POLICY='PASSIVE')
    assert not set(SETTINGS) & seen['chapter'].keys()
    assert seen['chapter']['BERTNLI_TUNING'] == 'off'
    assert seen['our']['BERTNLI_TUNING'] == 'on'


def test_off_leaves_a_process_as_mxnet_would_have_it():
    program = 'import json, bertnli; print(json.dumps(bertnli.report()))'
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, '-c', program],
        env={**clean, 'BERTNLI_TUNING': 'off'},
        capture_output=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told['threads'] == told['allocator'] == 'unchanged (BERTNLI_TUNING=off)'
    assert told['openblas'] == 'kernels of its own choice'


def test_a_row_holds_both_rates_their_ratio_and_the_memory(child):
    _, found = child()
    assert found['machine']['mxnet'] == runtime.report()['mxnet']
    assert found['snli_dataset'] == {
        'unit': 'pairs/s',
        'chapter': 1.0,
        'bertnli': 2.0,
        'ratio': 2.0,
        'ratios': [2.0, 2.0],
        'chapter_peak_mb': 3,
        'bertnli_peak_mb': 3,
    }


def test_an_unknown_work_is_refused_by_name():
    with pytest.raises(SettingsError, match='tea'):
        bench.compare(['tea'])


def test_a_failing_child_is_told_with_its_side_and_last_words(monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, '', 'Traceback\nMemoryError: too big')

    monkeypatch.setattr(bench.subprocess, 'run', run)
    with pytest.raises(bench.BertNLIError, match=r'(?s)chapter, predict.*MemoryError: too big'):
        bench.compare(['predict'], rounds=1)


def bench_json(path, *arguments):
    done = CliRunner().invoke(
        main, ['bench', '--json', str(path), '--rounds', '1', '--scale', '1', *arguments]
    )
    assert done.exit_code == 0, done.output
    return done.output, json.loads(path.read_text(encoding='utf-8'))


def check_row(row):
    assert row['chapter'] > 0
    assert row['bertnli'] > 0
    assert row['ratio'] == pytest.approx(row['bertnli'] / row['chapter'])


def test_the_command_measures_one_work_and_keeps_it(tmp_path):
    output, found = bench_json(tmp_path / 'bench.json', '--only', 'snli_dataset')
    check_row(found['snli_dataset'])
    assert set(bench.WORKS) & found.keys() == {'snli_dataset'}
    assert 'snli_dataset' in output


@pytest.mark.slow
def test_the_command_measures_everything_and_draws_it(tmp_path):
    picture = tmp_path / 'ratios.png'
    _, found = bench_json(tmp_path / 'bench.json', '--picture', str(picture))
    for work in bench.WORKS:
        check_row(found[work])
    assert 0 < found['finetune']['share_of_matrix_rate'] < 1
    assert found['predict']['single_pair_ms'] > 0
    assert picture.read_bytes()[:4] == b'\x89PNG'
