"""The playground, without a browser: what a reader types is what the widgets then show."""

import base64
import csv
import importlib
import re
import time

import pytest
from small_models import random_weights

from bertnli import (
    LABELS,
    RESERVED,
    BERTClassifier,
    BERTModel,
    CheckpointError,
    Report,
    RuntimeMismatch,
    SentencePair,
    SettingsError,
    Vocab,
    attention,
    browse,
    download_extract,
    load_checkpoint,
    occlusion,
    playground,
    predict_snli,
    read_snli,
    save_checkpoint,
    show_attention_lines,
)
from bertnli.pictures import playground as widgets
from bertnli.pictures import style

pytest.importorskip('ipywidgets')

VOCAB = Vocab('a man woman sleeps dog runs in the park .'.split(), reserved_tokens=RESERVED)
NET = random_weights(BERTClassifier(BERTModel(len(VOCAB), 12, 10, 3, 2, 0.4, max_len=60)))
PAIRS = [('A man sleeps.', 'A woman sleeps.'), ('A dog runs.', 'A dog sleeps.')]


@pytest.fixture
def play():
    return playground(NET, VOCAB, examples=PAIRS)


def seen(play):
    """All that the only column shows."""
    (column,) = play.columns
    return column.answer.value + column.reasons.value + column.looks.value


def test_it_opens_with_an_answered_example(play):
    probabilities = predict_snli(NET, VOCAB, *PAIRS[0]).probabilities
    (column,) = play.columns
    assert all(f'{label} {100 * p:.1f} %' in column.answer.value for label, p in zip(LABELS, probabilities))
    found = occlusion(NET, VOCAB, *PAIRS[0])
    assert all(f'{value:+.4f}' in column.reasons.value for value in found.values)
    assert 'occlusion' in column.reasons.value
    assert play.notes == []


def test_typing_answers_anew(play):
    play.hypothesis.value = 'A woman runs in the park.'
    share = max(predict_snli(NET, VOCAB, PAIRS[0][0], 'A woman runs in the park.').probabilities)
    assert f'{100 * share:.1f} %' in seen(play)


def test_an_example_fills_both_boxes_asks_once_and_can_be_chosen_again(play, monkeypatch):
    asked, column = [], play.columns[0]
    monkeypatch.setattr(column, 'ask', lambda *pair: asked.append(pair) or ([], None))
    for _ in range(2):
        play.examples.value = play.examples.options[1]
        assert (play.premise.value, play.hypothesis.value) == PAIRS[1]
        assert play.examples.value == ''
    assert asked == [PAIRS[1]] * 2
    play.premise.value = 'A man.'
    assert asked[2:] == [('A man.', PAIRS[1][1])]
    play.exchange.click()
    assert asked[3:] == [(PAIRS[1][1], 'A man.')]


def test_the_shipped_model_fails_where_the_examples_say_so_and_nowhere_else():
    model, play = load_checkpoint('bert-nli-small'), playground()
    examples = widgets.shipped_examples()
    for (premise, hypothesis, label, fails), option in zip(examples, play.examples.options):
        found = predict_snli(model.net, model.vocab, premise, hypothesis)
        assert (found.label != label) == bool(fails), (premise, hypothesis)
        play.examples.value = option
        assert play.notes == ([f'It fails here: {fails}'] if fails else [])
        assert ('it fails' in option) == bool(fails)
    assert sum(bool(fails) for *_, fails in examples) == 2
    play.hypothesis.value = 'A dog sleeps.'
    assert play.notes == []


def test_what_was_asked_is_kept_but_not_each_letter_of_it(play, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(widgets.time, 'monotonic', lambda: now[0])
    for premise in ('A', 'A m', 'A man.', '', 'A dog.'):
        play.premise.value = premise
        now[0] += 1.5
    now[0] += 5
    play.premise.value = 'A woman\t.'
    play.exchange.click()
    assert [line[1] for line in play.history] == [PAIRS[0][0], 'A dog.', 'A woman\t.', PAIRS[0][1]]
    head, *lines = (line.split('\t') for line in play.asked.value.splitlines())
    assert head == ['model', 'premise', 'hypothesis', 'label', *LABELS]
    assert lines[0][:4] == ['BERTClassifier', *PAIRS[0], predict_snli(NET, VOCAB, *PAIRS[0]).label]
    assert {len(line) for line in lines} == {len(head)}


def test_two_networks_answer_side_by_side(tmp_path):
    folder = save_checkpoint(tmp_path / 'nli', NET, VOCAB)
    small = Vocab('a man .'.split(), reserved_tokens=RESERVED)
    other = random_weights(BERTClassifier(BERTModel(len(small), 4, 10, 1, 1, 0.4, max_len=60)))
    play = playground(folder, (other, small), examples=PAIRS)
    assert (play.layer.max, play.head.max) == (1, 2)
    play.layer.value, play.head.value = 1, 2  # the other has only one of each
    for column, net, vocab in zip(play.columns, (NET, other), (VOCAB, small)):
        answer = predict_snli(net, vocab, *PAIRS[0], max_unknown=None)
        assert f'{answer.label}' in column.answer.value
        assert f'{100 * max(answer.probabilities):.1f} %' in column.answer.value
    assert [line[0] for line in play.history] == [str(folder), 'BERTClassifier']
    assert play.notes == ['BERTClassifier: Words not in the vocabulary, read as <unk>: sleeps, woman']


def test_every_menu_is_a_box_for_text_so_that_it_keeps_its_keys(play):
    def parts(box):
        return (
            [box] if not hasattr(box, 'children') else [one for part in box.children for one in parts(part)]
        )

    kinds = {type(part).__name__ for part in parts(play.box)}
    assert kinds == {'Combobox', 'Text', 'BoundedIntText', 'Button', 'Textarea', 'HTML'}


def test_the_pickers_choose_layer_and_head(play):
    assert (play.layer.max, play.head.max) == (1, 2)
    play.layer.value, play.head.value = 1, 2
    words, weights = attention(NET, VOCAB, *PAIRS[0])
    page = show_attention_lines(weights, words, layer=1, head=2, title='Attention, layer 1, head 2')
    assert play.columns[0].looks.value == page.html
    play.premise.value = 'A dog.'
    assert (play.layer.value, play.head.value) == (1, 2)


@pytest.mark.parametrize('empty', ['', '   '])
def test_an_empty_box_is_a_friendly_word_and_the_next_word_an_answer(play, empty):
    play.premise.value = empty
    assert 'Type a sentence' in play.notes[0]
    assert seen(play) == ''
    play.head.value = 1  # nothing to look at, and no error
    play.premise.value = 'A man.'
    assert play.notes == []
    assert 'entailment' in seen(play)


def test_unknown_words_are_named_as_text(play):
    play.premise.value = 'A <b>zebra</b> sleeps.'
    assert 'zebra' in play.notes[0]
    assert '<b>' not in play.box.children[4].value + seen(play)


def test_of_unknown_words_alone_nothing_is_coloured(play):
    play.premise.value, play.hypothesis.value = 'Xqz zzyzx.', 'Blorf!'
    assert play.notes == ['I know none of these words: the answer is a guess.']
    (column,) = play.columns
    assert column.reasons.value == column.looks.value == ''
    assert 'entailment' in column.answer.value
    play.premise.value, play.hypothesis.value = '(', ')'
    assert 'Type a sentence' in play.notes[0]
    play.premise.value, play.hypothesis.value = 'A (xqz) man.', 'A man.'
    assert play.notes == ['Words not in the vocabulary, read as <unk>: (, xqz, )']
    assert '-lrb-' not in seen(play)


def test_a_word_of_3000_letters_stays_on_the_screen(play):
    play.premise.value = 'A ' + 'x' * 3000
    assert len(play.notes[0]) < 100
    assert 'x' * 25 not in seen(play)


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
    assert '26 of 60 tokens' in seen(play)


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

    monkeypatch.setattr(style, 'importlib', type('None', (), {'import_module': staticmethod(missing)}))
    for show in (lambda: playground(NET, VOCAB), lambda: browse([['a'], ['b'], [0]])):
        with pytest.raises(RuntimeMismatch, match=r"pip install 'ipywidgets>=8'"):
            show()


def test_the_function_stays_the_function_when_its_file_is_imported():
    assert callable(importlib.import_module('bertnli').playground)


# ---------------------------------------------------------------------------------------------- pairs

PEOPLE = [
    SentencePair('A man sleeps.', 'A man, a woman.', 0),
    SentencePair('A woman runs.', 'Nobody <b>', 1),
    SentencePair('A dog runs in the park.', 'A dog runs.', 2),
    SentencePair('A dog.', 'The woman sleeps', 0),
]
SHARES = [[0.9, 0.1, 0.0], [0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.3, 0.7, 0.0]]


@pytest.fixture
def browser():
    return browse(Report.from_probabilities([pair.label for pair in PEOPLE], SHARES), PEOPLE)


def numbers(browser):
    return [row[0] for row in browser.rows]


@pytest.mark.parametrize(
    ('settings', 'left'),
    [
        ({}, [0, 1, 2, 3]),
        ({'label': 'entailment'}, [0, 3]),
        ({'predicted': 'entailment'}, [0, 1]),
        ({'label': 'entailment', 'predicted': 'contradiction'}, [3]),
        ({'label': 'nonsense'}, []),
        ({'word': 'MAN'}, [0]),  # and no woman
        ({'word': 'woman'}, [0, 1, 3]),
        ({'word': '<b>'}, [1]),
        ({'word': '('}, []),
        ({'sort': 'confidence'}, [1, 3, 2, 0]),
        ({'sort': 'words, falling'}, [2, 0, 1, 3]),
        ({'sort': 'label'}, [1, 0, 3, 2]),
    ],
)
def test_pairs_are_filtered_and_sorted(browser, settings, left):
    for name, value in settings.items():
        getattr(browser, name).value = value
    assert numbers(browser) == left
    assert f'{len(left)} of 4 pairs' in browser._table.value
    assert '<b>' not in browser._table.value


def test_lengths_and_confidences_have_a_lowest_and_a_highest(browser):
    browser.lengths[0].value = 6
    assert numbers(browser) == [0, 2]
    browser.confidences[1].value = 0.85
    assert numbers(browser) == [2]
    browser.confidences[0].value = 0.82
    assert numbers(browser) == []


def test_a_cell_of_the_confusion_shows_its_pairs(browser):
    cells = [one for one in browser.confusion.children if hasattr(one, 'click')]
    assert [cell.description for cell in cells] == '1 1 0 1 0 0 0 0 1'.split()
    cells[1].click()
    assert [row[1:6] for row in browser.rows] == [
        ('A dog.', 'The woman sleeps', 'entailment', 'contradiction', 0.7)
    ]


def test_what_is_left_is_saved_as_csv(browser):
    browser.predicted.value = 'neutral'
    assert list(csv.reader(browser.csv.splitlines())) == [
        'row premise hypothesis label predicted confidence words'.split(),
        ['2', PEOPLE[2].premise, PEOPLE[2].hypothesis, 'neutral', 'neutral', '0.8', '9'],
    ]
    content = re.search('href="data:text/csv;base64,([^"]*)" *', browser._table.value)[1]
    assert base64.b64decode(content).decode() == browser.csv


def test_data_alone_has_no_predictions_and_pages_are_turned():
    data = download_extract('SNLI', data_dir='sample')
    browser = browse(read_snli(data, split='dev'))
    assert browser.confusion.children == ()
    titles = re.findall('<th.*?>(.*?)</th>', browser._table.value)
    assert titles == 'row premise hypothesis label words'.split()
    assert 'confidence' not in browser.sort.options
    assert (len(browser.rows), browser.page.max) == (1000, 50)
    first = browser._table.value
    browser.page.value = 50
    assert first != browser._table.value
    assert '<td style="text-align: left">999</td>' in browser._table.value
    browser.word.value = 'dog'
    assert browser.page.value == 1
    assert repr(browser) == f'Browser({len(browser.rows)} of 1,000 pairs)'
    with pytest.raises(SettingsError, match='not the pairs'):
        browse(Report.from_probabilities([0], [[1, 0, 0]]), PEOPLE)
