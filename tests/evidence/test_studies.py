"""Tables of trainings on a slice of the sample: each run is one, and none is repeated."""

import dataclasses
import doctest
import itertools
import json
import subprocess
import sys
from pathlib import Path

import measure_studies as studies
import pytest
from click.testing import CliRunner

from bertnli import LABELS, PRESETS, ModelSettings, Vocab, download_extract, load_checkpoint, read_snli
from bertnli.analysis.challenge import WAYS
from bertnli.corpora.files import data_dir
from bertnli.devices import cpu_devices
from bertnli.settings import changed

ROOT = Path(__file__).resolve().parents[2]

# Tiny vocabularies lack many words.
pytestmark = pytest.mark.filterwarnings('ignore:.*not in the vocabulary')

QUIET = {'progress': False, 'devices': cpu_devices(1)}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A folder with a few hundred pairs and a few pages of text."""
    folder = tmp_path_factory.mktemp('data')
    for path in sorted(data_dir('sample').glob('*/*.t*')):
        copy = folder / path.parent.name / path.name
        copy.parent.mkdir(exist_ok=True)
        with open(path, encoding='utf-8') as lines:
            copy.write_text(''.join(itertools.islice(lines, 300)), encoding='utf-8')
    return folder


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    """All presets train the smallest model for a few steps; what is shipped is made small by its data."""
    monkeypatch.setenv('BERTNLI_CACHE', str(tmp_path / 'cache'))
    shape = ModelSettings(num_hiddens=16, ffn_num_hiddens=12, num_heads=2, num_layers=1, max_len=64)
    for name in ('chapter', 'tuned', 'order', 'contrast', 'words'):
        row = PRESETS['demo']
        small = dataclasses.replace(
            row,
            model=shape,
            pretrain=changed(row.pretrain, num_steps=3, batch_size=16),
            finetune=changed(row.finetune, num_epochs=1, batch_size=12),
        )
        monkeypatch.setitem(PRESETS, name, small)


def test_the_ladder_trains_each_rung_and_repeats_none(data, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, '_LADDER', studies._LADDER[:5:2])  # one of each kind
    rows = studies.ladder(tmp_path / 'out', data, test=True, **QUIET)
    assert [row['name'] for row in rows] == [run.name for run in studies._LADDER]
    assert all(0 < row[f'{split}_accuracy'] < 1 for row in rows for split in ('dev', 'test'))
    trained = sorted((tmp_path / 'out').glob('*/weights-*.safetensors'))
    before = [path.stat().st_mtime_ns for path in trained]
    assert len(trained) == len(rows) + len(studies._BERTS)
    assert studies.ladder(tmp_path / 'out', data, test=True, **QUIET) == rows
    assert [path.stat().st_mtime_ns for path in trained] == before


def test_seeds_give_their_mean_and_their_deviation(data, tmp_path):
    *rows, mean = studies.seeds(tmp_path, data, **QUIET)
    first, second, third = (row['dev_accuracy'] for row in rows)
    assert mean['dev_accuracy'] == pytest.approx((first + second + third) / 3)
    squares = sum((one - mean['dev_accuracy']) ** 2 for one in (first, second, third))
    assert mean['dev_accuracy_deviation'] == pytest.approx((squares / 2) ** 0.5)
    assert 'test_accuracy' not in mean  # nobody asked for it


def test_contrast_continues_what_was_tuned_and_compares_all(data, tmp_path):
    *rows, _, _, _, mean = studies.contrast(tmp_path, data, **QUIET)
    before, _, _, after = rows[:4]
    assert before['dev_challenge'].keys() == after['dev_challenge'].keys()
    shares = before['dev_challenge'].values()
    assert set(after['typed_otherwise']) == set(WAYS)
    assert before['dev_challenge_accuracy'] == pytest.approx(sum(shares) / len(shares))
    assert after['dev_accuracy'] != before['dev_accuracy']
    assert len({row['train_loss'] for row in rows}) == 12
    ends = [row['dev_challenge_accuracy'] for row in rows if row['name'].startswith('words')]
    assert mean['name'] == 'mean, words'
    assert mean['dev_challenge_accuracy'] == pytest.approx(sum(ends) / 3)
    assert after['dev_challenge_least'] == min(after['dev_challenge'].values())
    assert after['dev_typed_worst'] == max(after['typed_otherwise'].values())
    # The last two of each seed learn what three tuned ones answer.
    notes = [load_checkpoint(path.parent).notes['run'] for path in tmp_path.glob('*/manifest.json')]
    taught = [run['teachers'].split(', ') for run in notes if 'teachers' in run]
    assert len(notes) == 12
    assert [len({*teachers}) for teachers in taught] == [3] * 6
    assert 'test_challenge' not in after


def test_sizes_end_with_the_forecast_of_their_own_line(data, tmp_path):
    *rows, forecast = studies.sizes(tmp_path, data, **QUIET)
    counts = [row['train_pairs'] for row in rows]
    assert counts == sorted(counts)
    assert counts[-1] == len(read_snli(download_extract('SNLI', data_dir=data), split='train')[2])
    points = [(row['train_pairs'], row['dev_accuracy']) for row in rows]
    trained = len(list(tmp_path.glob('*/weights-*.safetensors')))
    studies.seeds(tmp_path, data, **QUIET)  # whose first is the last of the sizes
    assert len(list(tmp_path.glob('*/weights-*.safetensors'))) == trained + 2
    assert (tmp_path / 'sizes.png').stat().st_size > 5000
    assert forecast['dev_accuracy'] == studies.forecast(points, 549_367)


def test_words_with_capitals_become_unknown_and_nothing_else_changes(data, tmp_path):
    folder = studies._without_capitals(tmp_path / 'capitals', data)
    plain = read_snli(download_extract('SNLI', data_dir=data), split='dev')
    changed_pairs = read_snli(download_extract('SNLI', data_dir=folder), split='dev')
    assert plain[2] == changed_pairs[2]
    for before, after in zip(plain[0] + plain[1], changed_pairs[0] + changed_pairs[1]):
        assert after.split() == ['<unk>' if word != word.lower() else word for word in before.split()]
    assert any('<unk>' in sentence for sentence in changed_pairs[0])
    assert Vocab([['dog']])['<unk>'] == 0


def test_baselines_need_no_training(data, tmp_path):
    rows = studies.baselines(tmp_path, data, test=True)
    assert [set(row) for row in rows] == [{'name', 'dev_accuracy', 'test_accuracy'}] * 2
    assert all(1 / len(LABELS) / 2 < row['dev_accuracy'] < 1 for row in rows)


def test_pretrainings_are_compared_on_the_words_that_all_know(data, tmp_path):
    rows = studies.pretraining(tmp_path, data, **QUIET)
    assert [row['name'] for row in rows] == [*studies._BERTS, 'bert-wikitext2']
    # The same gaps were counted for each, whatever its vocabulary.
    assert len({row['words'] for row in rows}) == 1
    assert len({row['vocabulary'] for row in rows}) > 1


# --- the script -----------------------------------------------------------------------------------


def test_the_script_prints_its_table_and_saves_it(data, tmp_path):
    words = ['baselines', '--data', data, '--test', '--json', tmp_path / 'found.json', '--quiet']
    done = CliRunner().invoke(studies.main, list(map(str, words)))
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / 'found.json').read_text())
    assert found['study'] == 'baselines'
    assert found['versions'].keys() > {'mxnet', 'python'}
    assert [line[:30].strip() for line in done.output.splitlines()] == [row['name'] for row in found['rows']]
    assert all(f'test_accuracy {row["test_accuracy"]:.4f}' in done.output for row in found['rows'])


def test_an_unknown_study_is_told_by_the_process_without_a_traceback():
    command = [sys.executable, ROOT / 'data' / 'measure_studies.py', 'luck']
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.startswith('bertnli: unknown study')
    assert all(word in done.stderr for word in ('luck', *studies.STUDIES))
    assert 'Traceback' not in done.stderr


def test_the_examples_of_the_script_are_right():
    assert doctest.testmod(studies) == (0, 1)
