"""The embedded sample is what its generator writes, and what data/README.md says of it."""

import importlib.util
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from bertnli import text
from bertnli.analysis import baselines as evaluation
from bertnli.corpora import files

SAMPLE = Path(files.data_dir('sample'))
GENERATOR = Path(__file__).parents[2] / 'data' / 'make_sample.py'
FILES = [
    *(f'wikitext-2/wiki.{split}.tokens' for split in ('train', 'valid', 'test')),
    *(f'snli_1.0/snli_1.0_{split}.txt' for split in ('train', 'dev', 'test')),
]
SPLITS = ('train', 'dev', 'test')


@pytest.fixture(scope='module')
def generator():
    spec = importlib.util.spec_from_file_location('make_sample', GENERATOR)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def pairs():
    return {split: text.read_snli(SAMPLE / 'snli_1.0', split=split) for split in SPLITS}


def test_the_generator_reproduces_every_file_byte_for_byte(generator):
    written = generator.sample()
    assert sorted(written) == sorted(FILES)
    for name in FILES:
        assert written[name].encode('utf-8') == (SAMPLE / name).read_bytes(), name


def test_the_files_stay_within_two_megabytes():
    assert sum((SAMPLE / name).stat().st_size for name in FILES) <= 2_000_000


def test_every_row_has_the_fourteen_columns():
    for split in SPLITS:
        lines = (SAMPLE / f'snli_1.0/snli_1.0_{split}.txt').read_text('utf-8').splitlines()
        assert {line.count('\t') for line in lines} == {13}
        assert lines[0].split('\t')[:3] == ['gold_label', 'sentence1_binary_parse', 'sentence2_binary_parse']


def test_the_splits_are_large_and_balanced(pairs):
    for split, count in {'train': 12_000, 'dev': 1_000, 'test': 1_000}.items():
        labels = Counter(pairs[split][2])
        assert sum(labels.values()) == count
        assert max(labels.values()) - min(labels.values()) <= 1


def test_no_premise_stands_in_two_splits(pairs):
    premises = {split: set(pairs[split][0]) for split in SPLITS}
    assert not premises['train'] & premises['dev']
    assert not premises['train'] & premises['test']
    assert not premises['dev'] & premises['test']


def test_the_gold_label_is_the_majority_of_five_votes():
    for split in ('dev', 'test'):
        lines = (SAMPLE / f'snli_1.0/snli_1.0_{split}.txt').read_text('utf-8').splitlines()[1:]
        for line in lines:
            gold, *_, a, b, c, d, e = line.split('\t')
            most = [label for label, count in Counter((a, b, c, d, e)).items() if count >= 3]
            assert most == ([] if gold == '-' else [gold])


def test_the_hypothesis_alone_gives_nothing_away(pairs):
    assert evaluation.hypothesis_only_baseline(pairs['train'], pairs['test']) <= 0.45


def test_overlap_alone_does_not_decide(pairs):
    assert evaluation.overlap_baseline(pairs['train'], pairs['test']) <= 0.60


def test_a_few_oddities_ride_along(pairs):
    for split in SPLITS:
        assert pairs[split].skipped['no gold label'][0] == {'train': 60, 'dev': 12, 'test': 12}[split]
    assert max(len(premise.split()) for premise in pairs['test'][0]) > 60
    known = set(' '.join([*pairs['train'][0], *pairs['train'][1]]).lower().split())
    assert set(' '.join(pairs['test'][0]).lower().split()) - known
    assert any("n't" in sentence.split() for sentence in pairs['train'][1])


def test_the_corpus_says_every_word_of_the_pairs(pairs):
    said = Counter(
        word
        for paragraph in text.read_wiki(SAMPLE / 'wikitext-2')
        for sentence in paragraph
        for word in sentence.split()
    )
    used = Counter(word for column in pairs['train'][:2] for s in column for word in s.lower().split())
    often = {word for word, count in used.items() if count >= 20}
    assert {word for word in often if said[word] < 5} == set()


def test_git_for_windows_leaves_the_files_as_they_are(tmp_path):
    def git(*words):
        subprocess.run(
            ['git', '-c', 'core.autocrlf=true', *words], cwd=tmp_path, check=True, capture_output=True
        )

    shutil.copy(Path(__file__).parents[2] / '.gitattributes', tmp_path)
    for name in ('vocab.json', 'dev.txt', 'script'):
        (tmp_path / name).write_bytes(b'a\nb\n')
    git('init')
    git('add', '.')
    for name in ('vocab.json', 'dev.txt', 'script'):
        (tmp_path / name).unlink()
    git('checkout', '.')
    assert {(tmp_path / name).read_bytes() for name in ('vocab.json', 'dev.txt', 'script')} == {b'a\nb\n'}
