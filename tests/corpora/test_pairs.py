"""Pairs in the forms that people have, and running text: what is understood, and what is told."""

import csv
import gzip
import io
import json
import os

import pytest

from bertnli import SNLIBERTDataset, Vocab, read_pairs, read_snli, read_wiki
from bertnli.corpora.pairs import Asked, PairFiles, PairRows
from bertnli.corpora.prose import sentences_of
from bertnli.corpora.rows import Arriving
from bertnli.errors import BertNLIError, DataError, SettingsError
from bertnli.tokens import RESERVED

ROWS = [
    ('A dog, a "big" one, runs.', 'An animal moves.', 'entailment'),
    ('Zwei Frauen lächeln; nicht wahr?', 'Sie [weinen].', 'contradiction'),
    ("It's late.", 'He is sad.', 'neutral'),
]


def table(names=(), delimiter=',', quoting=csv.QUOTE_MINIMAL, order=(0, 1, 2)):
    out = io.StringIO()
    write = csv.writer(out, delimiter=delimiter, quoting=quoting).writerow
    for row in [*([names] if names else []), *ROWS]:
        write([row[place] for place in order] if row is not names else names)
    return out.getvalue()


def objects(*names):
    return [dict(zip(names, row)) for row in ROWS]


def lines(rows):
    return ''.join(json.dumps(row) + '\n' for row in rows)


def snli(names):
    return '\t'.join(names) + '\n' + ''.join(f'{label}\t( {p} )\t( {h} )\t\n' for p, h, label in ROWS)


NAMES = 'premise', 'hypothesis', 'label'
SENTENCES = 'sentence1', 'sentence2', 'gold_label'
PARSES = 'gold_label', 'sentence1_binary_parse', 'sentence2_binary_parse', 'sentence1'
# Name -> (form, content). All hold the same pairs.
FORMS = {
    'JSON lines': ('JSON lines', lines(objects(*NAMES))),
    'JSON lines of MultiNLI': ('JSON lines', lines([{'genre': ['x'], **row} for row in objects(*SENTENCES)])),
    'JSON lines of lists': ('JSON lines', lines(ROWS)),
    'JSON': ('JSON', json.dumps(objects(*NAMES), indent=1)),
    'JSON in one line': ('JSON', json.dumps(objects(*NAMES))),
    'JSON under a name': ('JSON', json.dumps({'version': 1, 'data': objects(*SENTENCES)})),
    'CSV': ('CSV', table(NAMES)),
    'CSV in other case': ('CSV', table(('Sentence1', ' SENTENCE2', 'Gold_Label'))),
    'CSV of a German spreadsheet': ('CSV', table(('text1', 'text2', 'label'), ';')),
    'CSV without names': ('CSV', table(quoting=csv.QUOTE_ALL)),
    'CSV with a mark and line ends': ('CSV', '\ufeff' + table(NAMES).replace('\n', '\r\n')),
    'TSV': ('TSV', table(NAMES, '\t')),
    'TSV without names': ('TSV', table((), '\t')),
    'TSV with the label first': ('TSV', table((), '\t', order=(2, 0, 1))),
    'TSV of SNLI': ('TSV', snli(PARSES)),
    'blank lines before it': ('TSV', '\n\n' + table(NAMES, '\t')),
}


def written(tmp_path, content, name='pairs.txt'):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.parametrize('name', FORMS)
def test_every_form_is_told_by_its_content_and_holds_the_same_pairs(name, zipped, tmp_path):
    form, content = FORMS[name]
    content = gzip.compress(content.encode()) if zipped else content
    path = written(tmp_path, content)
    assert PairRows(path).form == form
    numbers = {'entailment': 0, 'contradiction': 1, 'neutral': 2}
    before = 2 if name.startswith('blank') else 0
    rows = list(PairRows(path, numbers.get)) if before else list(read_pairs(path))
    assert rows == [(p, h, numbers[label]) for p, h, label in ROWS]
    written(tmp_path, content, 'train.csv.gz' if zipped else 'train.json')
    assert list(zip(*read_snli(tmp_path, True))) == rows


@pytest.mark.parametrize(
    ('cell', 'options', 'expected'),
    [
        ('Entailment', {}, 0),
        (' NEUTRAL ', {}, 2),
        ('1', {'labels': ('entailment', 'neutral', 'contradiction')}, 2),
        ('2.0', {'labels': ('entailment', 'neutral', 'contradiction')}, 1),
        ('-1', {'labels': ('entailment', 'neutral', 'contradiction')}, 'no gold label'),
        ('-1', {}, 'no gold label'),
        ('-', {}, 'no gold label'),
        ('', {}, 'no gold label'),
        ('1', {}, 'say what the numbers mean: --labels'),
        ('5', {'labels': ('entailment', 'neutral', 'contradiction')}, 'unknown label'),
        ('not_entailment', {}, 'can be evaluated, not trained'),
        ('non-entailment', {'two_classes': True}, 1),
        ('Not Entailment', {'two_classes': True}, 1),
        ('0', {'labels': ('entailment', 'not_entailment'), 'two_classes': True}, 0),
    ],
)
def test_a_label_is_a_name_or_a_number_that_the_reader_explains(cell, options, expected, tmp_path):
    path = written(tmp_path, f'premise\thypothesis\tlabel\nc d\te f\tneutral\na\tb\t{cell}\n')
    files = PairFiles(test=path, **options)
    if isinstance(expected, int):
        assert read_snli(files, False, max_skipped=0)[2][1] == expected
    elif expected == 'no gold label':
        assert read_snli(files, False).skipped == {expected: (1, [3])}
    else:
        with pytest.raises(DataError, match='line 3') as caught:
            read_snli(files, False, max_skipped=0)
        assert expected in str(caught.value)


def test_two_classes_are_one_and_the_rest(tmp_path):
    text = 'premise\thypothesis\tlabel\na\tb\tnot_entailment\nc\td\tentailment\ne\tf\tneutral\n'
    data = read_snli(PairFiles(test=written(tmp_path, text), two_classes=True), False)
    assert (data[2], data.names) == ([1, 0, 1], ('entailment', 'not-entailment'))
    vocab = Vocab(['a', 'b', 'c', 'd', 'e', 'f'], reserved_tokens=RESERVED)
    assert SNLIBERTDataset(data, 8, vocab, verbose=False).names == data.names


def test_an_unknown_order_of_labels_is_refused(tmp_path):
    path = written(tmp_path, FORMS['CSV'][1])
    with pytest.raises(SettingsError, match='labels'):
        list(read_pairs(path, labels=('yes', 'no')))


def test_unusual_columns_are_named_by_the_reader(tmp_path):
    path = written(tmp_path, 'claim\tevidence\tgold\nb\ta\tneutral\n')
    columns = {'premise': 'Evidence', 'hypothesis': 'claim', 'label': 'gold'}
    assert list(read_pairs(path, columns=columns)) == [('a', 'b', 2)]
    for wrong in (None, {'premise': 'evidence'}, {**columns, 'label': 'x'}):
        with pytest.raises(DataError, match='the columns are not understood') as caught:
            list(read_pairs(path, columns=wrong))
        assert 'claim' in str(caught.value)


# Content -> what is said, and the line.
BAD = {
    '{"premise": "a", "hypothesis": "b"}\n{"premise": "a"}\n': ('not a sentence', 'line 2'),
    '{"premise": "a", "hypothesis": "b"}\n{"premise": \n': ('malformed JSON', 'line 2'),
    '{"premise": "a", "hypothesis": "b"}\n{"premise": 3, "hypothesis": "b"}\n': ('not a sentence', 'line 2'),
    '[{"premise": "a", "hypothesis": "b"}, 3]': ('malformed JSON', 'entry 2'),
    '[{"premise": "a", "hypothesis": "b"}, ""]': ('malformed JSON', 'entry 2'),
    '[{"premise": "a", "hypothesis": "b"}, "[\\"c\\", \\"d\\"]"]': ('malformed JSON', 'entry 2'),
    '[\n{"premise": \n': ('malformed JSON', ''),
    '["a"\n': ('malformed JSON', ''),
    '{"question": "a", "answer": "b"}\n': ('the columns are not understood', 'line 1'),
    'premise,hypothesis\n"a,b\nc,d\n': ('malformed CSV', 'line 2'),
    'premise,hypothesis\n"a\nb",c\n"x"y,d\n': ('malformed CSV', 'line 4'),
    'premise,hypothesis\na,b,c\n': ('wrong column count', 'line 2'),
    'premise,hypothesis\na,\n': ('empty sentence', 'line 2'),
    'premise\thypothesis\na\t\u200b\n': ('empty sentence', 'line 2'),
    'premise\thypothesis\na\n': ('wrong column count', 'line 2'),
    'A man, old, walks.\n': ('wrong column count', 'line 1'),
    'a\tb\tc\n': ('the columns are not understood', 'line 1'),
    'premise\tclaim\na\tb\n': ('the columns are not understood', 'line 1'),
    'a\tb\n\nc\td\n': ('blank line', 'line 2'),
}


@pytest.mark.parametrize('content', BAD)
def test_what_is_not_understood_is_told_with_its_place(content, tmp_path):
    problem, place = BAD[content]
    with pytest.raises(DataError, match=problem) as caught:
        list(read_pairs(written(tmp_path, content)))
    assert place in caught.value.where
    assert caught.value.remedy


def test_columns_that_are_not_read_may_be_missing(tmp_path):
    path = written(tmp_path, 'label\tpremise\thypothesis\tid\tgenre\nneutral\ta\tb\nneutral\tc\td\t1\t\t\t\n')
    assert list(read_pairs(path)) == [('a', 'b', 2), ('c', 'd', 2)]


def test_names_of_columns_are_no_pair_even_in_the_middle():
    assert list(read_pairs(['premise\thypothesis\n', 'a\tb\n', 'premise\thypothesis\n'])) == [
        ('a', 'b', None)
    ]


@pytest.mark.parametrize('start', [b'PK\x03\x04', b'\xd0\xcf\x11\xe0', b'PAR1'])
def test_a_spreadsheet_is_told_to_be_saved_as_csv(start, tmp_path):
    with pytest.raises(DataError, match='save the table as CSV'):
        list(read_pairs(written(tmp_path, start + bytes(99), 'pairs.xlsx')))


def test_a_damaged_gzipped_file_is_told(tmp_path):
    with pytest.raises(DataError, match='the gzipped file is damaged'):
        list(read_pairs(written(tmp_path, gzip.compress(FORMS['TSV'][1].encode() * 9)[:-12])))


@pytest.mark.parametrize(
    ('name', 'split'),
    [
        ('train.csv', 'train'),
        ('validation.jsonl', 'dev'),
        ('my_val.tsv.gz', 'dev'),
        ('multinli_1.0_dev_matched.txt', 'dev'),
        ('snli_1.0_test.jsonl', 'test'),
    ],
)
def test_a_split_is_found_by_the_usual_names(name, split, tmp_path):
    for other in ('multinli_1.0_dev_mismatched.txt', 'README.txt', 'train.py', name):
        written(tmp_path, '', other)
    assert PairFiles(tmp_path).path(split) == str(tmp_path / name)


def test_one_split_in_two_forms_is_one_and_two_files_are_refused(tmp_path):
    for name in ('snli_1.0_dev.jsonl', 'snli_1.0_dev.txt'):
        written(tmp_path, '', name)
    assert PairFiles(tmp_path).path('dev').endswith('.txt')
    written(tmp_path, '', 'dev.csv')
    with pytest.raises(DataError, match='several files for the split dev'):
        PairFiles(tmp_path).path('dev')
    assert PairFiles(tmp_path, dev='mine.csv').path('dev') == 'mine.csv'


def test_answers_go_out_while_the_pipe_is_silent():
    out, into = os.pipe()
    os.write(into, b'a\tb\nc\td\ne\t')
    asked = Asked(PairRows(Arriving(out)))
    assert list(asked) == [('a', 'b'), ('c', 'd')]  # the third has no end yet
    os.write(into, b'f\n')
    assert list(asked) == [('e', 'f')]
    os.write(into, b'g\th')
    os.close(into)
    assert list(asked) == [('g', 'h')]
    assert list(asked) == []
    assert len(asked.waiting) == 4
    os.close(out)


# --- text -----------------------------------------------------------------------------------------

TEXTS = {
    'a sentence a line': ('A dog runs.\nIt is fast.\n\nA cat sits.\nIt sleeps.\n\nHeading\n', {1: 2, 2: 1}),
    'a paragraph a line': ('A dog runs. It is fast.\nTitle\nA cat sits. It sleeps.\n', {2: 1}),
    'broken lines': ('A dog\nruns. It is\nfast.\n\nHeading\n\nA cat\nsits. It\nsleeps.\n', {1: 2, 2: 1}),
}


@pytest.mark.parametrize('name', TEXTS)
def test_running_text_becomes_paragraphs_of_treebank_words_and_unused_lines_are_counted(name, tmp_path):
    text, unused = TEXTS[name]
    found = read_wiki(written(tmp_path, text))
    assert found == [['a dog runs .', 'it is fast .'], ['a cat sits .', 'it sleeps .']]
    reasons = {1: 'blank line', 2: 'line without a next sentence'}
    assert {reason: n for reason, (n, _) in found.skipped.items()} == {
        reasons[k]: n for k, n in unused.items()
    }


def test_lines_without_end_marks_are_sentences(tmp_path):
    assert read_wiki(written(tmp_path, 'a dog runs\nit is fast\n')) == [['a dog runs', 'it is fast']]


@pytest.mark.parametrize(
    ('text', 'count'),
    [
        ('Mr. Fox met Dr. J. R. Smith in the U.S. Army. He left.', 2),
        ('"Why?" she said. "Because." 3,000 men came… They left!', 4),
        ('It cost 3.50 dollars. e.g. nothing', 1),
        ('Ärger. Über alles. ', 2),
    ],
)
def test_sentences_end_at_marks_and_not_at_abbreviations(text, count):
    found = sentences_of(text)
    assert len(found) == count
    assert ' '.join(found).split() == text.split()


def test_lines_of_wikitext_without_sentences_are_counted(tmp_path):
    written(tmp_path, ' = Title = \n \n A dog runs . It is fast . \n', 'wiki.valid.tokens')
    assert read_wiki(tmp_path, 'valid').skipped == {
        'line without a next sentence': (1, [1]),
        'blank line': (1, [2]),
    }


def test_a_text_without_a_second_sentence_is_an_error(tmp_path):
    with pytest.raises(BertNLIError, match='no line holds a paragraph'):
        read_wiki(written(tmp_path, 'Only one.\n'))
