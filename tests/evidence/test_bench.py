"""The benchmark: every work can be measured on both sides, and the two sides are what they claim to be.

How fast anything is, no test here says; machines are too noisy for that.
"""

import importlib.util
import json
import math
import multiprocessing.dummy
import os
import subprocess
import sys
import time
import types

import numpy as onp
import pytest
from click.testing import CliRunner

from bertnli import SettingsError, runtime
from bertnli.app.cli import main
from bertnli.datasets import to_mxnet
from bertnli.evidence import bench
from bertnli.runtime import parameters_by_path

# Tiny vocabularies lack many words.
pytestmark = pytest.mark.filterwarnings('ignore:.*not in the vocabulary')

SIDES = ('chapter', 'our')
SETTINGS = ('OMP_NUM_THREADS', 'MXNET_USE_OPERATOR_TUNING', 'OMP_WAIT_POLICY', 'OPENBLAS_CORETYPE')


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """A batch and a network so small that a measurement takes a moment."""
    monkeypatch.setenv(bench._BEGAN, str(time.time()))
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
    assert {'rate', 'peak_mb'} <= found.keys()
    assert all(math.isfinite(number) and number > 0 for number in found.values())
    assert found['rate'] > 0
    assert found['peak_mb'] > 0
    assert ('first_step_s' in found) == (work in ('finetune', 'pretrain'))


def test_the_machine_has_a_matrix_rate():
    assert bench._our_machine(None, 1, size=64)['rate'] > 0


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
            answer = json.dumps({'rate': 2.0 if side == 'our' else 1.0, 'peak_mb': 3})
            return subprocess.CompletedProcess(command, 0, f'noise\n{answer}\n', '')

        monkeypatch.setattr(bench.subprocess, 'run', run)
        return seen, bench.compare(['snli_dataset'], rounds=2, scale=1, say=lambda _: None)

    return environments


def test_the_chapter_runs_with_none_of_our_settings(child):
    # This process has set threads and waits for itself, in the environment that children inherit.
    seen, _ = child(OMP_NUM_THREADS='2', MXNET_USE_OPERATOR_TUNING='0', OMP_WAIT_POLICY='PASSIVE')
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


def test_shares_of_the_profile_add_up_and_no_family_is_empty():
    for work, shares in bench.measure('our', 'profile', 'sample', 1).items():
        if work != 'peak_mb':
            assert sum(shares.values()) == pytest.approx(1)
            assert all(share > 0 for share in shares.values()), work


def test_the_first_step_counts_from_the_start_of_the_process(monkeypatch):
    monkeypatch.setenv(bench._BEGAN, str(time.time() - 100))
    found = bench._steps(lambda _: None, range(3), 3)
    assert found['first_step_s'] == pytest.approx(100, abs=5)


# --- the peer -------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    found = pytest.importorskip('torch')
    threads = found.get_num_threads()
    yield found
    found.set_num_threads(threads)


@pytest.fixture
def batches():
    """Two pairs and 60 words: what our data sets give, as the peer wants it."""
    rng = onp.random.default_rng(0)
    ids, segments = rng.integers(0, 60, (2, 7)), onp.array([[0, 0, 0, 0, 1, 1, 1]] * 2)
    return ids, segments, onp.array([7, 5])


def weights_from_ours(torch, net, ours):
    """The weights of a `BERTModel` of this library, put where the peer has them."""
    found = {name: torch.tensor(p.data().asnumpy()) for name, p in parameters_by_path(ours).items()}
    told = {'tokens.weight': 'encoder.token_embedding.weight', 'places': 'encoder.pos_embedding'}
    told['segments.weight'] = 'encoder.segment_embedding.weight'
    state = net.state_dict()
    for name, path in told.items():
        state[name] = found[path]
    parts = {'attention.W_o': 'out', 'ffn.dense1': 'ffn1', 'ffn.dense2': 'ffn2'}
    for i in range(bench.LAYERS):
        block = f'encoder.blks.{i}'
        for kind in ('weight', 'bias'):
            qkv = [found[f'{block}.attention.W_{x}.{kind}'] for x in 'qkv']
            state[f'blocks.{i}.qkv.{kind}'] = torch.cat(qkv)
            for path, name in parts.items():
                state[f'blocks.{i}.{name}.{kind}'] = found[f'{block}.{path}.{kind}']
            for j in (1, 2):
                norm = f'{block}.addnorm{j}.ln.{"gamma" if kind == "weight" else "beta"}'
                state[f'blocks.{i}.norm{j}.{kind}'] = found[norm]
    net.load_state_dict(state)


def test_the_peer_computes_what_our_encoder_computes(torch, batches):
    _, net, _ = bench.peer(60, 8, 12, 2, bench.LAYERS, dropout=0)
    ours = bench.BERTModel(60, 8, 12, 2, bench.LAYERS, 0)
    ours.initialize(bench.init.Normal(0.5))
    weights_from_ours(torch, net, ours)
    inputs = [torch.tensor(x) for x in batches]
    expected = ours(*to_mxnet(tuple(x.astype('float32') for x in batches)))[0].asnumpy()
    assert net.encode(*inputs).detach().numpy() == pytest.approx(expected[:, 0], abs=1e-4)
    places = onp.array([[0, 3], [0, 4]])
    read = net.encode(*inputs, torch.tensor(places)).detach().numpy()
    assert read == pytest.approx(expected[[[0], [1]], places], abs=1e-4)


def test_the_peer_learns_both_works(torch, batches):
    _, net, step = bench.peer(60, 8, 12, 2, 2, dropout=0)
    ids, segments, lengths = (torch.tensor(x) for x in batches)
    one = torch.tensor([0, 1])
    places, weights = torch.tensor([[0, 2], [0, 3]]), torch.tensor([0, 1])
    given = ids, segments, lengths, places, weights, ids[:, 1:2], one
    for loss, batch in (net.finetune, (ids, segments, lengths, one)), (net.pretrain, given):
        before = loss(*batch).item()
        for _ in range(20):
            step(loss, batch)
        assert loss(*batch).item() < before


def test_an_unknown_work_is_refused_by_name():
    with pytest.raises(SettingsError, match='tea'):
        bench.compare(['tea'])


def test_a_failing_child_is_told_with_its_side_and_last_words(monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, '', 'Traceback\nMemoryError: too big')

    monkeypatch.setattr(bench.subprocess, 'run', run)
    with pytest.raises(bench.BertNLIError, match=r'(?s)chapter, predict.*MemoryError: too big'):
        bench.compare(['predict'], rounds=1)


def test_a_peer_that_cannot_be_compiled_costs_no_other_measurement(monkeypatch):
    pytest.importorskip('torch')

    def run(command, **_):
        side = command[command.index('bertnli.evidence.bench') + 1]
        answer = json.dumps({'rate': 1.0, 'peak_mb': 3})
        return subprocess.CompletedProcess(command, side == 'torch', answer, 'InvalidCxxCompiler: none')

    monkeypatch.setattr(bench.subprocess, 'run', run)
    said = []
    found = bench.compare(['predict'], rounds=1, say=said.append)
    assert found['predict']['ratio'] == 1
    assert set(found['torch']) == {'version'}
    assert 'InvalidCxxCompiler' in said[-1]


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
    assert found['predict']['bertnli_single_pair_ms'] > 0
    assert set(found['profile']) == {'finetune', 'pretrain'}
    if importlib.util.find_spec('torch'):
        assert set(found['torch']) == {'version', *bench._PEER}
    assert picture.read_bytes()[:4] == b'\x89PNG'
