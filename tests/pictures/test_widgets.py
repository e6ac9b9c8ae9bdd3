"""The playground, without a browser: what a reader types is what the widgets then show."""

import importlib
import time

import pytest
from small_models import random_weights

from bertnli import (
    LABELS,
    RESERVED,
    BERTClassifier,
    BERTModel,
    CheckpointError,
    RuntimeMismatch,
    SettingsError,
    Vocab,
    attention,
    playground,
    predict_snli,
    saliency,
    save_checkpoint,
    show_attention,
)
from bertnli.pictures import playground as widgets

pytest.importorskip('ipywidgets')

VOCAB = Vocab('a man woman sleeps dog runs in the park .'.split(), reserved_tokens=RESERVED)
NET = random_weights(BERTClassifier(BERTModel(len(VOCAB), 12, 10, 3, 2, 0.4, max_len=60)))
PAIRS = [('A man sleeps.', 'A woman sleeps.'), ('A dog runs.', 'A dog sleeps.')]


@pytest.fixture
def play():
    return playground(NET, VOCAB, examples=PAIRS)


def test_it_opens_with_an_answered_example(play):
    probabilities = predict_snli(NET, VOCAB, *PAIRS[0]).probabilities
    assert all(f'{label} {100 * p:.1f} %' in play.answer.value for label, p in zip(LABELS, probabilities))
    found = saliency(NET, VOCAB, *PAIRS[0])
    assert all(f'{value:+.2f}' in play.reasons.value for value in found.values)
    assert play.notes == []


def test_typing_answers_anew(play):
    play.hypothesis.value = 'A woman runs in the park.'
    share = max(predict_snli(NET, VOCAB, PAIRS[0][0], 'A woman runs in the park.').probabilities)
    assert f'{100 * share:.1f} %' in play.answer.value


def test_the_menu_fills_both_boxes_and_asks_once(play, monkeypatch):
    asked = []
    monkeypatch.setattr(play, '_answer', lambda *pair: asked.append(pair))
    play.examples.value = PAIRS[1]
    assert (play.premise.value, play.hypothesis.value) == PAIRS[1]
    assert asked == [PAIRS[1]]
    play.premise.value = 'A man.'
    assert asked[1:] == [('A man.', PAIRS[1][1])]


def test_the_pickers_choose_layer_and_head(play):
    assert (play.layer.options, play.head.options) == ((0, 1), (0, 1, 2))
    play.layer.value, play.head.value = 1, 2
    words, weights = attention(NET, VOCAB, *PAIRS[0])
    assert play.looks.value == show_attention(weights[1, 2], words, title='Attention, layer 1, head 2').html
    play.premise.value = 'A dog.'
    assert (play.layer.value, play.head.value) == (1, 2)


@pytest.mark.parametrize('empty', ['', '   '])
def test_an_empty_box_is_a_friendly_word_and_the_next_word_an_answer(play, empty):
    play.premise.value = empty
    assert 'Type a sentence' in play.told.value
    assert play.answer.value == play.looks.value == ''
    play.head.value = 1  # nothing to look at, and no error
    play.premise.value = 'A man.'
    assert play.notes == []
    assert 'entailment' in play.answer.value


def test_unknown_words_are_named_as_text(play):
    play.premise.value = 'A <b>zebra</b> sleeps.'
    assert 'zebra' in play.notes[0]
    assert '<b>' not in play.told.value + play.reasons.value


def test_a_vocabulary_that_only_counts_and_finds_numbers_is_enough():
    class OnlyNumbers:  # as d2l's: `word in vocab` would never end
        token_to_idx, idx_to_token, unk = VOCAB.token_to_idx, VOCAB.idx_to_token, VOCAB.unk
        __len__, __getitem__ = Vocab.__len__, Vocab.__getitem__

        def __contains__(self, word):
            raise AssertionError('`in` was asked')

    notes = playground(NET, OnlyNumbers(), examples=[('A zebra sleeps.', 'A man.')]).notes
    assert notes == ['Words not in the vocabulary, read as <unk>: zebra']


def test_as_plain_text_it_is_one_short_line(play):
    play.premise.value, play.hypothesis.value = 'a dog runs ' * 3000, 'x' * 5000
    assert repr(play).startswith("Playground('a dog runs a dog")
    assert len(repr(play)) < 160


def test_a_very_long_sentence_is_shortened_and_said_so(play):
    play.premise.value = 'a dog runs ' * 3000
    assert play.notes == [f'The pair is too long: its last {9000 + 4 - 57} words were left out.']
    assert 'the first 40 of 60 tokens' in play.looks.value


def test_a_hundred_unknown_words_are_not_all_listed(play):
    play.premise.value = ' '.join(f'word{i}' for i in range(30))
    assert play.notes[0].endswith('and 22 more')


@pytest.mark.parametrize('shipped', [False, True])
def test_an_answer_takes_less_than_100_ms(play, shipped):
    play = playground() if shipped else play

    def seconds(i):
        start = time.process_time()
        play.premise.value = 'A man sleeps in the park. ' + 'A dog runs. ' * (i % 3)
        return time.process_time() - start

    assert min(seconds(i) for i in range(6)) < 0.1


def test_it_shows_itself_as_a_widget_and_loads_a_saved_model(tmp_path):
    play = playground(save_checkpoint(tmp_path / 'nli', NET, VOCAB))
    shown = play._repr_mimebundle_()
    assert 'application/vnd.jupyter.widget-view+json' in shown
    assert 'entailment' in shown['text/html']  # for a page without a kernel
    assert shown['text/plain'] == "Playground('A man sleeps in the park.', 'A person sleeps.')"
    with pytest.raises(CheckpointError):
        playground(tmp_path / 'elsewhere')
    with pytest.raises(SettingsError, match='vocabulary'):
        playground(NET)


def test_without_ipywidgets_one_error_says_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(f'No module named {name!r}')

    monkeypatch.setattr(widgets, 'importlib', type('None', (), {'import_module': staticmethod(missing)}))
    with pytest.raises(RuntimeMismatch, match=r"pip install 'ipywidgets>=8'"):
        playground(NET, VOCAB)


def test_the_function_stays_the_function_when_its_file_is_imported():
    assert callable(importlib.import_module('bertnli').playground)
