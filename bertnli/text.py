"""Files become sentences and labels.

Reads the two corpora of the chapter and files of sentence pairs, and says where a file is wrong.
It neither splits sentences into words (tokens.py) nor knows where the files lie (files.py).
"""

import os
import sys
from collections import defaultdict
from typing import NamedTuple, Optional

from .corpora.rows import (
    _BLANK,
    _FIRST_LINES,
    _GAPS,
    _HEADER_AGAIN,
    _NO_LABEL,
    _as_error,
    _BadRow,
    _check_limits,
    _check_skipped,
    _decode,
    _lines,
    _open,
    warn_of_skipped,
)
from .errors import DataError, SettingsError

# The index is the label's number, in the chapter's order. Other libraries use other orders.
LABELS = ('entailment', 'contradiction', 'neutral')
_LABEL_IDS = {label: number for number, label in enumerate(LABELS)}
MAX_SKIPPED = 0.01  # the share of malformed rows that may be left out, with a warning
_COLUMNS = 14
_HEADER = ('gold_label', 'sentence1_binary_parse', 'sentence2_binary_parse')


class SentencePair(NamedTuple):
    """Two sentences and, where somebody judged them, the number of their label."""

    premise: str
    hypothesis: str
    label: Optional[int] = None


class SNLIData(list):
    """[premises, hypotheses, labels], as in the chapter, and what was skipped on the way.

    `skipped` maps a reason to (how many rows, the first line numbers); `split` is 'train', 'dev'
    or 'test'; `path` is the file.
    """

    def __init__(self, columns=((), (), ()), *, split=None, path=None, skipped=None):
        super().__init__(columns)
        self.split, self.path, self.skipped = split, path, dict(skipped or {})


def read_snli(data_dir, is_train=None, *, split=None, limit=None, max_skipped=MAX_SKIPPED):
    """Read a split of SNLI: an `SNLIData`, that is [premises, hypotheses, labels].

    The sentences are the words of the binary-parse columns, brackets removed, case kept (chapter,
    section 'The Stanford Natural Language Inference Dataset'). `is_train` chooses train or test as
    in the chapter, `split` any of 'train', 'dev', 'test'; `limit` stops after so many pairs. Rows
    whose gold label is `-` (no majority) are skipped and counted. Malformed rows are skipped, counted
    and told in a warning, up to `max_skipped` (a share of the rows); more of them raise `DataError`
    with the first one's place, and with `max_skipped=0` any does.

    >>> from bertnli import download_extract
    >>> data = read_snli(download_extract('SNLI', data_dir='sample'), is_train=False, limit=2)
    >>> len(data), len(data[0]), data.split
    (3, 2, 'test')
    """
    split = _choose_split(is_train, split)
    _check_limits(limit, max_skipped)
    path = os.path.join(data_dir, f'snli_1.0_{split}.txt')
    premises, hypotheses, labels = [], [], []
    skipped, first, number = defaultdict(list), None, 1
    with _open(path) as file:
        lines = _lines(file, path)
        _check_header(next(lines), path)
        for number, line in enumerate(lines, 2):
            try:
                label, premise, hypothesis = _parse_row(line)
            except _BadRow as bad:
                skipped[bad.reason].append(number)
                if bad.reason not in _GAPS:
                    first = first or _as_error(path, number, bad)
                    if not max_skipped:
                        raise first from bad
                continue
            premises.append(premise)
            hypotheses.append(hypothesis)
            labels.append(label)
            if len(labels) == limit:
                break
    _check_skipped(skipped, first, max_skipped, number - 1)
    if not labels:
        raise DataError(
            'no row has a gold label',
            where=path,
            found=f'{number - 1} rows',
            allowed=', '.join(LABELS),
            remedy='use a file with at least one labelled pair',
        )
    counts = {reason: (len(lines), lines[:_FIRST_LINES]) for reason, lines in skipped.items()}
    warn_of_skipped(path, counts)
    return SNLIData((premises, hypotheses, labels), split=split, path=path, skipped=counts)


def _choose_split(is_train, split):
    if split is None and is_train is not None:
        split = 'train' if is_train else 'test'
    if split not in ('train', 'dev', 'test'):
        raise SettingsError(
            'there is no such split',
            where='split',
            found=split,
            allowed='train, dev, test',
            remedy="say is_train=True or False, or split='dev'",
        )
    return split


def _check_header(line, path):
    try:
        names = tuple(_decode(line).lstrip('\ufeff').split('\t'))
    except _BadRow as bad:
        raise _as_error(path, 1, bad) from bad
    if names[:3] != _HEADER or len(names) != _COLUMNS:
        raise DataError(
            'the first line is not the header of SNLI',
            where=f'{path}, line 1',
            found=' '.join(names)[:100],
            allowed=f'{_COLUMNS} tab-separated names that begin with {" ".join(_HEADER)}',
            remedy='use the .txt files of the SNLI archive as they are',
        )


def _parse_row(line):
    """(label id, premise, hypothesis) of one row, or _BadRow."""
    line = _decode(line)
    # Quotes are plain characters in these files: a csv reader would swallow tabs and lines.
    if line.count('\t') != _COLUMNS - 1:
        if not line.strip():
            raise _BadRow(_BLANK, line, None, None)
        raise _BadRow(
            'wrong column count',
            line.count('\t') + 1,
            f'{_COLUMNS} tab-separated columns',
            'correct or delete the line, or tolerate a share of such rows with max_skipped',
        )
    gold, premise, hypothesis, _ = line.split('\t', 3)
    label = _LABEL_IDS.get(gold)
    if label is None:
        label = _LABEL_IDS.get(gold.strip().lower())  # as students write it
    if label is None:
        if gold.strip() == '-':
            raise _BadRow(_NO_LABEL, gold, None, None)
        if gold.lstrip('\ufeff') == _HEADER[0]:
            raise _BadRow(_HEADER_AGAIN, gold, None, None)
        raise _BadRow(
            'unknown label',
            gold,
            ', '.join([*LABELS, '-']),
            'correct the spelling, or tolerate a share of such rows with max_skipped',
        )
    premise, hypothesis = _without_brackets(premise), _without_brackets(hypothesis)
    if not premise or not hypothesis:
        raise _BadRow(
            'empty sentence',
            f'premise {premise!r}, hypothesis {hypothesis!r}',
            'at least one word in sentence1_binary_parse and in sentence2_binary_parse',
            'complete or delete the line, or tolerate a share of such rows with max_skipped',
        )
    return label, premise, hypothesis


def _without_brackets(parse):
    """The words of a parse, a blank between them: '( ( Two women ) smile )' → 'Two women smile'."""
    return ' '.join(parse.replace('(', '').replace(')', '').split())


def read_wiki(data_dir, split='train'):
    """Read a split of WikiText-2: paragraphs, each a list of sentences (lower-case strings).

    A line is a paragraph if it has ' . ' inside, and is cut there (chapter, section 'The Dataset
    for Pretraining BERT'). The order is the file's; nothing is shuffled. Raises `DataError`.

    >>> from bertnli import download_extract
    >>> paragraphs = read_wiki(download_extract('wikitext-2', data_dir='sample'), 'valid')
    >>> all(sentence == sentence.lower() for sentence in paragraphs[0])
    True
    """
    if split not in ('train', 'valid', 'test'):
        raise SettingsError(
            'there is no such split',
            where='split',
            found=split,
            allowed='train, valid, test',
            remedy="the chapter reads 'train'",
        )
    path = os.path.join(data_dir, f'wiki.{split}.tokens')
    paragraphs = []
    with _open(path) as file:
        for number, line in enumerate(_lines(file, path), 1):
            if b' . ' not in line:
                continue
            try:
                text = _decode(line).lstrip('\ufeff')
            except _BadRow as bad:
                raise _as_error(path, number, bad) from bad
            paragraphs.append(text.strip().lower().split(' . '))
    if not paragraphs:
        raise DataError(
            'no line holds a sentence and what follows it',
            where=path,
            allowed="paragraphs, one a line, whose sentences end with ' . '",
            remedy='use the .tokens files of the WikiText-2 archive as they are',
        )
    return paragraphs


def read_pairs(path_or_file):
    """Yield a `SentencePair` (without label) for each line `premise<TAB>hypothesis`.

    Takes a path, '-' for standard input, or anything that yields lines (bytes or str). It holds
    one line at a time. Raises `DataError` with the line number at the first malformed line.

    >>> next(read_pairs(['A dog runs.\\tAn animal moves.\\n']))
    SentencePair(premise='A dog runs.', hypothesis='An animal moves.', label=None)
    """
    if path_or_file == '-':
        yield from _pairs(getattr(sys.stdin, 'buffer', sys.stdin), 'standard input')
    elif isinstance(path_or_file, (str, os.PathLike)):
        with _open(path_or_file) as file:
            yield from _pairs(_lines(file, path_or_file), str(path_or_file))
    else:
        yield from _pairs(path_or_file, getattr(path_or_file, 'name', 'the lines given'))


def _pairs(lines, name):
    blank = None
    for number, line in enumerate(lines, 1):
        try:
            text = _decode(line) if isinstance(line, bytes) else str(line).rstrip('\r\n')
            if not text.strip():
                # Blank lines may end a file, but inside it they would shift the answers.
                blank = blank or number
                continue
            if blank:
                number = blank
                raise _BadRow('blank line', '', 'a pair on every line', 'delete the blank line')
            yield _parse_pair(text.lstrip('\ufeff') if number == 1 else text)
        except _BadRow as bad:
            raise _as_error(name, number, bad) from bad


def _parse_pair(text):
    columns = [column.strip() for column in text.split('\t')]
    if len(columns) != 2:
        raise _BadRow(
            'wrong column count',
            text,
            'two columns, premise and hypothesis, with one tab between them',
            'separate the sentences by one tab',
        )
    if not all(columns):
        raise _BadRow(
            'empty sentence',
            text,
            'at least one word on each side of the tab',
            'complete or delete the line',
        )
    return SentencePair(*columns)
