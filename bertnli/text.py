"""Files become sentences and labels.

Reads the two corpora of the chapter and files of sentence pairs, and says where a file is wrong.
It neither splits sentences into words (tokens.py) nor knows where the files are (corpora/files.py).
"""

import itertools
import os
import sys
from typing import NamedTuple, Optional

from .corpora.rows import BLANK, HEADER, NO_LABEL, BadRow, Rows, read_lines, warn_of_skipped
from .errors import DataError, SettingsError

# The index is the label's number, in the chapter's order. Other libraries use other orders.
LABELS = ('entailment', 'contradiction', 'neutral')
_LABEL_IDS = {label: number for number, label in enumerate(LABELS)}
MAX_SKIPPED = 0.01  # the share of malformed rows that is skipped with a warning
# A file of SNLI has fourteen columns; we read the first three.
_COLUMNS = 14
_HEADER = ['gold_label', 'sentence1_binary_parse', 'sentence2_binary_parse']
_REMEDY = 'correct or delete the line, or tolerate a share of such rows with max_skipped'


class SentencePair(NamedTuple):
    """Two sentences and, where somebody judged them, the number of their label."""

    premise: str
    hypothesis: str
    label: Optional[int] = None


class SNLIData(list):
    """[premises, hypotheses, labels], as in the chapter, and what was skipped on the way.

    `skipped` maps a reason to (how many rows, the first line numbers); `split` is 'train', 'dev' or 'test'.
    """

    def __init__(self, columns=((), (), ()), *, split=None, path=None, skipped=None):
        super().__init__(columns)
        self.split, self.path, self.skipped = split, path, dict(skipped or {})


def read_snli(data_dir, is_train=None, *, split=None, limit=None, max_skipped=MAX_SKIPPED):
    """Read a split of SNLI: an `SNLIData`, that is [premises, hypotheses, labels].

    The sentences are the words of the binary-parse columns, brackets removed, case kept (chapter,
    section 'The Stanford Natural Language Inference Dataset'). `is_train` chooses train or test as
    in the chapter, `split` any of 'train', 'dev', 'test'; `limit` stops after so many pairs. Rows
    whose gold label is `-` (no majority) are skipped and counted. Malformed rows are skipped with a
    warning, up to `max_skipped` (a share of the rows); more of them raise `DataError` with the
    first one's place, and with `max_skipped=0` any does.

    >>> from bertnli import download_extract
    >>> data = read_snli(download_extract('SNLI', data_dir='sample'), is_train=False, limit=2)
    >>> len(data), len(data[0]), data.split
    (3, 2, 'test')
    """
    # The chapter knows train and test only; dev is for choosing settings.
    if split is None and is_train is not None:
        split = 'train' if is_train else 'test'
    _check('split', split, split in ('train', 'dev', 'test'), 'train, dev, test')
    _check('limit', limit, limit is None or limit >= 1, 'a whole number from 1, or None for all')
    _check('max_skipped', max_skipped, 0 <= max_skipped <= 1, 'a share of the rows, from 0 to 1')
    # The first line names the columns, each other one is a pair.
    path = os.path.join(data_dir, f'snli_1.0_{split}.txt')
    rows = Rows(read_lines(path), path, _parse_row, max_skipped)
    _check_header(rows.header(), path)
    # Three lists, as in the chapter: the i-th premise, hypothesis and label belong together.
    premises, hypotheses, labels = [], [], []
    for label, premise, hypothesis in itertools.islice(rows, limit):
        premises.append(premise)
        hypotheses.append(hypothesis)
        labels.append(label)
    # A few malformed rows are a warning, many are an error.
    rows.check(total=rows.number - 1)
    if not labels:
        found, remedy = f'{rows.number - 1} rows', 'use a file with at least one labelled pair'
        allowed = ', '.join(LABELS)
        raise DataError('no row has a gold label', where=path, found=found, allowed=allowed, remedy=remedy)
    warn_of_skipped(path, rows.skipped)
    return SNLIData((premises, hypotheses, labels), split=split, path=path, skipped=rows.skipped)


def _check(name, value, is_right, allowed):
    if not is_right:
        remedy, found = f'pass an allowed value as {name}', 'nothing' if value is None else value
        raise SettingsError(f'invalid {name}', where=name, found=found, allowed=allowed, remedy=remedy)


def _check_header(text, path):
    # Files in another form (JSON lines, another corpus) are told apart by their first line.
    names = text.split('\t')
    if names[:3] != _HEADER or len(names) != _COLUMNS:
        where, found = f'{path}, line 1', ' '.join(names)[:100]
        allowed = f'{_COLUMNS} tab-separated names that begin with {" ".join(_HEADER)}'
        remedy = 'use the .txt files of the SNLI archive unchanged'
        raise DataError('not the header of SNLI', where=where, found=found, allowed=allowed, remedy=remedy)


def _parse_row(text):
    """(label id, premise, hypothesis) of one row; `BadRow` if it cannot be used."""
    # Quotes are plain characters here. `csv` can be told so, but it takes longer, limits the length of a
    # field for the whole process, and refuses zero bytes before Python 3.11.
    columns = text.split('\t')
    if len(columns) != _COLUMNS:
        if not text.strip():
            raise BadRow(BLANK)
        raise BadRow('wrong column count', len(columns), f'{_COLUMNS} tab-separated columns', _REMEDY)
    # The gold label is what most of the five judges said; `-` if no three of them agreed.
    gold = columns[0].strip().lower()
    if gold not in _LABEL_IDS:
        if gold == '-':
            raise BadRow(NO_LABEL)
        if gold == _HEADER[0]:
            raise BadRow(HEADER)
        raise BadRow('unknown label', columns[0], ', '.join([*LABELS, '-']), _REMEDY)
    premise, hypothesis = _without_brackets(columns[1]), _without_brackets(columns[2])
    if not premise or not hypothesis:
        found = f'premise {premise!r}, hypothesis {hypothesis!r}'
        raise BadRow('empty sentence', found, f'at least one word in {" and ".join(_HEADER[1:])}', _REMEDY)
    return _LABEL_IDS[gold], premise, hypothesis


def _without_brackets(parse):
    # '( ( Two women ) smile )' → 'Two women smile'
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
    _check('split', split, split in ('train', 'valid', 'test'), 'train, valid, test')
    path = os.path.join(data_dir, f'wiki.{split}.tokens')
    # Headings and blank lines give no sentences.
    paragraphs = [sentences for sentences in Rows(read_lines(path), path, _parse_paragraph) if sentences]
    if not paragraphs:
        allowed = "paragraphs, one a line, whose sentences end with ' . '"
        remedy = 'use the .tokens files of the WikiText-2 archive unchanged'
        raise DataError('no line holds a paragraph', where=path, allowed=allowed, remedy=remedy)
    return paragraphs


def _parse_paragraph(text):
    # As in the chapter, the last sentence keeps its full stop.
    return text.strip().lower().split(' . ') if ' . ' in text else []


def read_pairs(path_or_file):
    """Yield a `SentencePair` (without label) for each line `premise<TAB>hypothesis`.

    Takes a path, '-' for standard input, or anything that yields lines (bytes or str). It holds
    one line at a time. Raises `DataError` with the line number at the first malformed line.

    >>> next(read_pairs(['A dog runs.\\tAn animal moves.\\n']))
    SentencePair(premise='A dog runs.', hypothesis='An animal moves.', label=None)
    """
    if path_or_file == '-':
        lines, name = getattr(sys.stdin, 'buffer', sys.stdin), 'standard input'
    elif isinstance(path_or_file, (str, os.PathLike)):
        lines, name = read_lines(path_or_file), path_or_file
    else:
        lines, name = path_or_file, getattr(path_or_file, 'name', 'the lines given')
    rows = Rows(lines, name, _parse_pair)
    for pair in rows:
        # Blank lines may end a file, but inside it they would shift the answers.
        if rows.skipped:
            _, (number, *_) = rows.skipped[BLANK]
            raise rows.error(number, BadRow(BLANK, '', 'a pair on every line', 'delete the blank line'))
        yield pair


def _parse_pair(text):
    if not text.strip():
        raise BadRow(BLANK)
    columns = [column.strip() for column in text.split('\t')]
    if len(columns) != 2:
        allowed = 'two columns, premise and hypothesis, with one tab between them'
        raise BadRow('wrong column count', text, allowed, 'separate the sentences by one tab')
    if not all(columns):
        raise BadRow('empty sentence', text, 'at least one word on each side of the tab', 'complete the line')
    return SentencePair(*columns)
