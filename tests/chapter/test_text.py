"""Readers of SNLI, of WikiText-2 and of pairs: right on good files, clear on bad ones."""

import contextlib
import gc
import io
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertnli.corpora import rows as corpora_rows
from bertnli.corpora.files import download_extract
from bertnli.errors import BertNLIError, DataError, SettingsError
from bertnli.text import LABELS, SentencePair, read_pairs, read_snli, read_wiki

GOOD = [('entailment', 'A dog runs .', 'It moves .'), ('neutral', 'A man', 'He is sad')]


def test_the_labels_are_in_the_chapters_order():
    assert LABELS == ('entailment', 'contradiction', 'neutral')


@pytest.mark.parametrize('is_train', [True, False])
def test_read_snli_equals_d2ls_on_the_sample(is_train):
    from bertnli.runtime import d2l

    folder = download_extract('SNLI', data_dir='sample')
    assert list(read_snli(folder, is_train)) == list(map(list, d2l.read_snli(folder, is_train)))


@pytest.mark.parametrize('is_train', [True, False])
def test_read_snli_equals_d2ls_on_real_data(is_train, real_data):
    from bertnli.runtime import d2l

    folder = download_extract('SNLI', data_dir=real_data)
    assert list(read_snli(folder, is_train)) == list(map(list, d2l.read_snli(folder, is_train)))


def test_read_wiki_equals_d2ls_but_for_the_order():
    from bertnli.runtime import d2l

    folder = download_extract('wikitext-2', data_dir='sample')
    ours = read_wiki(folder)
    assert sorted(ours) == sorted(d2l._read_wiki(folder))
    assert ours == read_wiki(folder)  # the file's order, always


def test_nested_brackets_are_removed_and_the_case_is_kept(write_snli):
    row = '\t'.join(['neutral', '( ( Two Women ) ( smile . ) )', '( ( A ) B )', *[''] * 11])
    data = read_snli(write_snli([row]), True)
    assert data == [['Two Women smile .'], ['A B'], [2]]


def test_the_result_unpacks_like_the_chapters_and_tells_its_split(write_snli):
    data = read_snli(write_snli(GOOD, split='dev'), split='dev')
    premises, hypotheses, labels = data
    assert (premises, hypotheses, labels) == (data[0], data[1], [0, 2])
    assert data.split == 'dev'
    assert data.path.endswith('snli_1.0_dev.txt')


def test_rows_without_a_gold_label_are_counted_and_no_mistake(write_snli):
    data = read_snli(write_snli([('-', 'x', 'y'), *GOOD, ('-', 'x', 'y')]), True)
    assert len(data[0]) == 2
    assert data.skipped == {'no gold label': (2, [2, 5])}


def test_quotes_carriage_returns_and_a_byte_order_mark_are_harmless(write_snli):
    folder = write_snli([('neutral', '`` "Go" , he said', 'He "spoke')], end='\r\n')
    path = folder / 'snli_1.0_train.txt'
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    assert read_snli(folder, True)[:2] == [['`` "Go" , he said'], ['He "spoke']]


def test_the_limit_counts_labelled_pairs_and_stops_reading(write_snli):
    folder = write_snli([('-', 'x', 'y'), *GOOD, ('nonsense', 'x', 'y')])
    assert len(read_snli(folder, True, limit=2)[0]) == 2


BAD = {
    'unknown label': (('entialment', 'a', 'b'), 'entialment'),
    'wrong column count': ('neutral\ta', '2'),
    'empty sentence': (('neutral', 'a', ' '), "hypothesis ''"),
    'not UTF-8': (('neutral', 'caf\udce9', 'b'), 'xe9'),
}


@pytest.mark.parametrize('reason', BAD)
def test_a_malformed_row_is_an_error_with_line_value_allowed_and_remedy(write_snli, reason):
    row, found = BAD[reason]
    with pytest.raises(DataError, match=reason) as caught:
        read_snli(write_snli([*GOOD, row, *GOOD]), True)
    assert 'snli_1.0_train.txt, line 4' in caught.value.where
    assert found in str(caught.value)
    assert caught.value.allowed
    assert caught.value.remedy


def test_a_tolerance_skips_and_counts_malformed_rows_up_to_its_share(write_snli):
    rows = [*GOOD * 45, *(row for row, _ in BAD.values())]
    with pytest.warns(UserWarning, match=r'skipped malformed rows: 1 unknown label \(line 92\)'):
        data = read_snli(write_snli(rows), True, max_skipped=0.05)
    assert len(data[0]) == 90
    assert {reason: count for reason, (count, _) in data.skipped.items()} == dict.fromkeys(BAD, 1)
    with pytest.raises(DataError, match=r'4 malformed rows \(lines 92, 93, 94, 95'):
        read_snli(write_snli(rows), True, max_skipped=0.04)


def test_one_malformed_row_in_a_hundred_is_left_out_with_a_warning_and_two_are_an_error(write_snli):
    bad = ('entialment', 'a', 'b')
    with pytest.warns(UserWarning, match='1 unknown label'):
        data = read_snli(write_snli([*GOOD * 50, bad]), True)
    assert data.skipped == {'unknown label': (1, [102])}
    with pytest.raises(DataError, match='2 malformed rows'):
        read_snli(write_snli([*GOOD * 50, bad, bad]), True)
    with pytest.raises(DataError, match='unknown label'):
        read_snli(write_snli([*GOOD * 50, bad]), True, max_skipped=0)


def test_labels_in_other_cases_and_a_repeated_header_are_harmless(write_snli):
    with open(write_snli(GOOD) / 'snli_1.0_train.txt', encoding='utf-8') as file:
        header = file.readline().rstrip()
    rows = [('Entailment', 'a', 'b'), header, (' NEUTRAL ', 'c', 'd'), (' - ', 'e', 'f'), '\ufeff' + header]
    data = read_snli(write_snli(rows), True)
    assert data[2] == [0, 2]
    assert data.skipped == {'repeated header': (2, [3, 6]), 'no gold label': (1, [5])}


def test_zero_bytes_and_megabyte_lines_are_read(write_snli, tmp_path):
    sentence = 'word ' * 400_000
    data = read_snli(write_snli([('neutral', 'a\0b', sentence), *GOOD]), True)
    assert data[0][0] == 'a\0b'
    assert len(data[1][0].split()) == 400_000
    (tmp_path / 'wiki.train.tokens').write_text(f' {sentence} . {sentence} . b\n')
    assert len(read_wiki(tmp_path)[0][0].split()) == 400_000
    (tmp_path / 'pairs.tsv').write_text(f'{sentence}\tb\n')
    assert len(next(read_pairs(tmp_path / 'pairs.tsv')).premise) > 1_000_000


def test_a_line_without_an_end_does_not_fill_the_memory(write_snli, tmp_path, monkeypatch):
    monkeypatch.setattr('bertnli.corpora.rows._LONGEST_LINE', 10_000)
    rows = [*GOOD * 100, ('neutral', 'a', 'b ' * 30_000), *GOOD]
    with pytest.warns(UserWarning, match=r'1 line too long \(line 202\)'):
        data = read_snli(write_snli(rows), True)
    assert len(data[0]) == 202
    (tmp_path / 'pairs.tsv').write_text('a' * 30_000)
    with pytest.raises(DataError, match='line too long'):
        list(read_pairs(tmp_path / 'pairs.tsv'))
    with pytest.raises(DataError, match='line too long'):
        next(read_pairs('/dev/zero'))


@pytest.mark.parametrize('change', [b'neutral\t( a )\t( b )' + b'\t' * 11 + b'\n', None])
def test_a_file_that_changes_while_it_is_read_is_an_error(write_snli, change):
    path = write_snli(GOOD * 50) / 'snli_1.0_train.txt'
    lines = corpora_rows.read_lines(path)
    next(lines)
    if change:
        with open(path, 'ab') as other:
            other.write(change)
    else:
        os.truncate(path, 99)
    with pytest.raises(DataError, match='changed while it was read'):
        list(lines)


@pytest.mark.parametrize('content', [b'', b'\n', b'gold_label\n', b'a,b,c\n1,2,3\n', b'\xff\xfe\x00'])
def test_a_file_that_is_no_snli_file_is_an_error(tmp_path, content):
    (tmp_path / 'snli_1.0_test.txt').write_bytes(content)
    with pytest.raises(DataError, match=r'snli_1\.0_test\.txt'):
        read_snli(tmp_path, False)


def test_only_unlabelled_rows_or_only_a_header_is_an_error(write_snli):
    for rows in ([('-', 'a', 'b')], []):
        with pytest.raises(DataError, match='no row has a gold label'):
            read_snli(write_snli(rows), True)


def test_a_missing_file_or_a_folder_for_a_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match='no file for the split train'):
        read_snli(tmp_path, True)
    (tmp_path / 'snli_1.0_train.txt').mkdir()
    with pytest.raises(DataError, match='cannot be read'):
        read_snli(tmp_path, True)
    (tmp_path / 'wiki.train.tokens').mkdir()
    with pytest.raises(DataError, match='cannot be read'):
        read_wiki(tmp_path)


@pytest.mark.parametrize(
    'wish', [{}, {'split': 'valid'}, {'split': 'dev', 'limit': 0}, {'split': 'dev', 'max_skipped': 2}]
)
def test_a_split_limit_or_share_that_is_none_is_refused(wish):
    with pytest.raises(SettingsError):
        read_snli('anywhere', **wish)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_whatever_the_bytes_the_reader_answers_or_raises_its_own_error(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp('snli')
    header = '\t'.join(['gold_label', 'sentence1_binary_parse', 'sentence2_binary_parse', *'abcdefghijk'])
    (folder / 'snli_1.0_train.txt').write_bytes(b'\n'.join([header.encode(), *lines]))
    with contextlib.suppress(BertNLIError):
        read_snli(folder, True)


def test_wiki_lines_become_lower_case_sentences(tmp_path):
    (tmp_path / 'wiki.valid.tokens').write_text(
        ' = Title = \n \n A Dog runs . It IS fast . \n One sentence . \n no stop\n', encoding='utf-8'
    )
    # subtle: as in the chapter the last full stop stays, and a line with one sentence counts.
    assert read_wiki(tmp_path, 'valid') == [['a dog runs', 'it is fast .'], ['one sentence .']]


def test_wiki_text_that_is_not_utf8_names_its_line(tmp_path):
    (tmp_path / 'wiki.train.tokens').write_bytes(b'a . b\ncaf\xe9 . b\n')
    with pytest.raises(DataError, match=r'wiki.train.tokens, line 2'):
        read_wiki(tmp_path)


def test_wiki_text_without_sentences_and_an_unknown_split_are_errors(tmp_path):
    (tmp_path / 'wiki.train.tokens').write_text('nothing here\n')
    with pytest.raises(DataError, match='no line holds'):
        read_wiki(tmp_path)
    with pytest.raises(SettingsError, match='train, valid, test'):
        read_wiki(tmp_path, 'dev')


def test_pairs_are_read_from_a_path_lines_and_standard_input(tmp_path, monkeypatch):
    text = '\ufeffA dog runs.\tIt moves.\r\n Eins \tZwei ü\n\n'
    pairs = [SentencePair('A dog runs.', 'It moves.'), SentencePair('Eins', 'Zwei ü')]
    path = tmp_path / 'pairs.tsv'
    path.write_bytes(text.encode())
    assert list(read_pairs(path)) == list(read_pairs(str(path))) == pairs
    assert list(read_pairs(io.StringIO(text))) == pairs
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(text.encode())))
    assert list(read_pairs('-')) == pairs


def test_pairs_are_read_one_at_a_time():
    def endless():
        while True:
            yield 'a\tb\n'

    assert next(read_pairs(endless())) == ('a', 'b', None)


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('only one\n', 'wrong column count'),
        ('a\tb\tc\n', 'wrong column count'),
        ('a\t \n', 'empty sentence'),
        ('\nc\td\n', 'blank line'),
        (b'\xff\tb\n', 'not UTF-8'),
    ],
)
def test_a_malformed_pair_names_its_line(line, reason):
    lines = ['a\tb\n', *(line.splitlines(True))]
    with pytest.raises(DataError, match=reason) as caught:
        list(read_pairs(lines))
    assert caught.value.where.endswith('line 2')


def test_the_files_of_the_sample_are_whole():
    folder = download_extract('SNLI', data_dir='sample')
    for split in ('train', 'dev', 'test'):
        data = read_snli(folder, split=split)
        assert set(data[2]) == {0, 1, 2}
        assert os.path.basename(data.path) == f'snli_1.0_{split}.txt'


def test_a_file_with_a_bad_line_is_closed_as_soon_as_it_is_told(tmp_path):
    path = tmp_path / 'wiki.train.tokens'
    path.write_bytes(b' a b . c d . \n \xff . \n')
    gc.disable()  # which would come by some time later
    try:
        with contextlib.suppress(DataError):
            read_wiki(path)
        assert str(path) not in [os.path.realpath(link) for link in Path('/proc/self/fd').glob('*')]
    finally:
        gc.enable()
