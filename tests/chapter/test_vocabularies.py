"""Every place that asks a vocabulary takes d2l's, too: it has no end when iterated, and other numbers."""

import signal
import tempfile

import numpy as onp
import pytest
from small_models import random_weights

import bertnli
from bertnli import RESERVED, Batches, BERTClassifier, BERTModel, SentencePair, Vocab
from bertnli.app import jobs as recipes
from bertnli.examples import ordinary_ids
from bertnli.runtime import d2l

WORDS = 'a man woman sleeps dog runs in the park .'.split()
PAIR = 'A man sleeps.', 'A zebra runs in the park.'
TEXT = [['a man sleeps .', 'the dog runs .'], ['a woman runs .', 'the man sleeps .']]
COLUMNS = [['a man sleeps .', 'a dog runs .'], ['a woman runs .', 'the zebra sleeps .'], [0, 2]]


@pytest.fixture(autouse=True)
def _in_time():
    """`word in vocab` never returns with d2l's class."""

    def too_late(*_):
        raise TimeoutError('a vocabulary was asked without end')

    old = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@pytest.fixture(scope='module')
def theirs():
    return d2l.Vocab([WORDS], reserved_tokens=list(RESERVED))


@pytest.fixture(scope='module')
def ours(theirs):
    """Our class with d2l's numbers: both must answer alike."""
    return Vocab.from_list(theirs.idx_to_token)


@pytest.fixture(scope='module')
def net(ours):
    return random_weights(BERTClassifier(BERTModel(len(ours), 12, 10, 3, 2, 0.0, max_len=60)))


def play(net, vocab):
    pytest.importorskip('ipywidgets')
    game = bertnli.playground(net, vocab, examples=[PAIR])
    return game.notes, game.columns[0].answer.value, game.columns[0].reasons.value


def pretraining_data(net, vocab):
    data = bertnli.WikiTextDataset(TEXT, 20, vocab=vocab)
    rows = data.batch(onp.arange(len(data)), onp.random.default_rng(0))
    judged = bertnli.evaluate_pretraining(net.bert, Batches(data, 2))
    return [row.tolist() for row in rows], judged


def labelled_data(net, vocab):
    data = bertnli.SNLIBERTDataset(COLUMNS, 20, vocab)
    return [x.tolist() for x in data[1][0]], bertnli.evaluate(net, Batches(data, 2)).accuracy


def in_workers(net, vocab):
    data = bertnli.SNLIBERTDataset(COLUMNS, 20, vocab, num_workers=1)
    return [x.tolist() for x in data[1][0]]


def loaders(net, vocab):
    wiki, same = bertnli.load_data_wiki(4, 32, vocab=vocab)
    assert same is vocab
    snli = bertnli.load_data_snli(4, 32, vocab, limit=8, max_unknown=None)
    return [next(iter(batches))[0][0].tolist() for batches in (wiki, snli.dev_iter)]


def saved(net, vocab):
    with tempfile.TemporaryDirectory() as folder:
        loaded = bertnli.load_checkpoint(bertnli.save_checkpoint(folder, net, vocab))
    return loaded.vocab.idx_to_token, loaded.vocab['zebra']


def a_run(net, vocab):
    settings = bertnli.PRESETS['demo'].finetune
    return recipes._describe_run('finetune', settings, net, vocab)


PLACES = {
    'playground': play,
    'predict_snli': lambda net, vocab: bertnli.predict_snli(net, vocab, *PAIR),
    'predict_pairs': lambda net, vocab: list(bertnli.predict_pairs(net, vocab, [SentencePair(*PAIR)])),
    'fill_mask': lambda net, vocab: bertnli.fill_mask(net.bert, vocab, 'a <mask> runs .'),
    'attention': lambda net, vocab: bertnli.attention(net, vocab, *PAIR).words,
    'saliency': lambda net, vocab: bertnli.saliency(net, vocab, *PAIR).values,
    'cls_vectors': lambda net, vocab: bertnli.cls_vectors(net, vocab, [SentencePair(*PAIR)]).tolist(),
    'nearest_words': lambda net, vocab: bertnli.nearest_words(net, vocab, 'dog', 3),
    'encode_pair': lambda net, vocab: bertnli.encode_pair(['a', 'zebra'], ['the', 'dog'], vocab, 9),
    'explain_pair': lambda net, vocab: repr(
        bertnli.explain_pair(*PAIR, vocab, 12, rng=onp.random.default_rng(0))
    ),
    'mask_tokens': lambda net, vocab: bertnli.mask_tokens(
        ['<cls>', *WORDS, '<sep>'], vocab, onp.random.default_rng(2)
    ),
    'ordinary_ids': lambda net, vocab: ordinary_ids(vocab).tolist(),
    'WikiTextDataset': pretraining_data,
    'SNLIBERTDataset': labelled_data,
    'SNLIBERTDataset in processes': in_workers,
    'load_data_wiki, load_data_snli': loaders,
    'save_checkpoint': saved,
    'a run and its state': a_run,
}


@pytest.mark.parametrize('place', PLACES)
def test_a_vocabulary_of_d2l_gets_the_answer_that_ours_gets(place, net, theirs, ours):
    assert PLACES[place](net, theirs) == PLACES[place](net, ours)


def test_a_word_without_a_vector_is_told_with_a_question_that_both_classes_answer(net, theirs):
    with pytest.raises(bertnli.DataError) as caught:
        bertnli.nearest_words(net, theirs, 'zebra')
    assert '`word in vocab.token_to_idx`' in caught.value.remedy
