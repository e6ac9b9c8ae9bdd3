"""In another chapter's notebook `import bertnli as d2l` has every name: our own first, d2l's for the rest."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import bertnli
from bertnli.runtime import d2l, npx

D2L = importlib.metadata.version('d2l')
ROWS = [
    line.replace(':', '').split()
    for line in (Path(__file__).parent / 'book' / 'names.txt').read_text(encoding='utf-8').splitlines()
    if not line.startswith('#')
]
HERE = [row for row in ROWS if row[0] == 'any' or D2L.startswith(row[0])]


def test_most_of_the_listed_sections_are_for_every_stack():
    assert len(ROWS) > 50
    assert sum(row[0] == 'any' for row in ROWS) > 40
    assert len(HERE) > 45


@pytest.mark.parametrize('row', HERE, ids=[f'{library}-{section}' for library, section, *_ in HERE])
def test_each_name_of_a_section_is_found(row):
    _, _, *names = row
    assert names
    assert [name for name in names if not hasattr(bertnli, name)] == []


def test_our_own_names_come_first_and_the_rest_is_d2ls_own():
    # Nothing else of d2l's is hidden by ours.
    assert sorted(set(bertnli.__all__) & set(vars(d2l))) == sorted(
        """BERTEncoder BERTModel MaskLM NextSentencePred Vocab download_extract evaluate_accuracy_gpus
        get_dataloader_workers get_tokens_and_segments load_data_snli load_data_wiki predict_snli read_snli
        split_batch_multi_inputs tokenize train_batch_ch13 train_ch13 try_all_gpus""".split()
    )
    others = [name for name in vars(d2l) if not name.startswith('_') and name not in bertnli.__all__]
    assert len(others) > 150
    assert all(getattr(bertnli, name) is getattr(d2l, name) for name in others)


def test_what_a_reader_sets_is_set_in_d2l(monkeypatch):
    monkeypatch.delitem(d2l.DATA_HUB, 'mine', raising=False)
    bertnli.DATA_HUB['mine'] = (bertnli.DATA_URL + 'mine.zip', '0' * 40)
    assert d2l.DATA_HUB.pop('mine')[0].endswith('/mine.zip')
    monkeypatch.setattr(d2l, 'DATA_URL', 'http://elsewhere/')
    assert bertnli.DATA_URL == 'http://elsewhere/'


def test_a_renamed_thing_has_both_names():
    assert bertnli.EncoderBlock is bertnli.TransformerEncoderBlock
    assert bertnli.MLPAttention is d2l.AdditiveAttention
    assert bertnli.trim_pad([1, 2, 3], 2, 0) == bertnli.truncate_pad([1, 2, 3], 2, 0) == [1, 2]


@pytest.mark.parametrize(
    ('name', 'near'),
    [('BERTModell', 'BERTModel (bertnli)'), ('Animater', f'Animator (d2l {D2L})'), ('zzzzz', 'nothing')],
)
def test_what_neither_has_is_told_with_the_nearest_names_and_their_library(name, near):
    with pytest.raises(AttributeError) as error:
        getattr(bertnli, name)
    message = str(error.value)
    assert message.startswith(f"neither bertnli nor d2l {D2L} has '{name}'; nearest: ")
    assert near in message


def test_what_neither_has_cannot_be_imported_and_is_not_there():
    assert not hasattr(bertnli, 'zzzzz')
    with pytest.raises(ImportError):
        exec('from bertnli import zzzzz')


def test_only_a_public_name_that_is_not_ours_loads_d2l():
    code = """
        import sys, bertnli
        asked = '__wrapped__ _repr_html_ _ipython_display_ __file__ _anything tokenize corpora'.split()
        found = [hasattr(bertnli, name) for name in asked]
        assert found == [False, False, False, True, False, True, True], found
        assert not {'d2l', 'mxnet', 'numpy'} & set(sys.modules)
        bertnli.Timer
        assert {'d2l', 'mxnet', 'numpy'} <= set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, '-c', '\n'.join(line.strip() for line in code.splitlines())],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_each_file_and_wing_of_the_package_is_ours():
    package = Path(bertnli.__file__).parent
    stems = {path.stem for path in package.glob('*.py')} | {
        path.parent.name for path in package.glob('*/__init__.py')
    }
    assert {stem for stem in stems if not stem.startswith('_')} - {package.name} <= set(bertnli.__all__)
    assert 'Animator' not in dir(bertnli)


def test_d2ls_own_functions_take_what_ours_give():
    words = bertnli.tokenize(['a dog runs .'] * 5)
    vocab = bertnli.Vocab(words, min_freq=5, reserved_tokens=['<pad>'])
    padded = [bertnli.truncate_pad(vocab[line], 6, vocab['<pad>']) for line in words]
    features = bertnli.np.array(padded)
    ((X, y),) = bertnli.load_array((features, list(range(5))), 5, is_train=False)
    assert (X.shape, y.shape) == ((5, 6), (5,))
    X_shards, y_shards = bertnli.split_batch(X[:4], y[:4], [npx.cpu(0), npx.cpu(1)])
    assert [x.shape for x in X_shards] == [(2, 6), (2, 6)]
    assert len(y_shards) == 2
