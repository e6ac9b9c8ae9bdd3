"""Files become sentences and labels.

Reads the two corpora of the chapter and files of sentence pairs, and says where a file is wrong.
It neither splits sentences into words (tokens.py) nor knows where the files are (corpora/files.py).
"""

import itertools
import os
from typing import NamedTuple, Optional

from .corpora.pairs import PairFiles, PairRows, without_holes
from .corpora.prose import read_prose
from .corpora.rows import BLANK, NO_LABEL, NO_SENTENCES, BadRow, Rows, read_lines, warn_of_skipped
from .errors import DataError, SettingsError

# The index is the label's number, in the chapter's order. Other libraries use other orders.
LABELS = ('entailment', 'contradiction', 'neutral')
_LABEL_IDS = {label: number for number, label in enumerate(LABELS)}
MAX_SKIPPED = 0.01  # the share of malformed rows that is skipped with a warning
# Data of two classes joins two of the three: 'not-entailment'.
_NEITHER = len(LABELS)
_NAME_IT = 'name the column, as in --columns label=gold'
_HUGGING_FACE = 'say what the numbers mean: --labels entailment,neutral,contradiction, or labels=…'


class SentencePair(NamedTuple):
    """Two sentences, `premise` and `hypothesis`, and the number of their `label` (None: not judged)."""

    premise: str
    hypothesis: str
    label: Optional[int] = None


class SNLIData(list):
    """[premises, hypotheses, labels], as in the chapter, and what was skipped on the way.

    `skipped` maps a reason to (how many rows, the first line numbers); `split` is 'train', 'dev' or 'test';
    `names` are those of the labels, which differ from `LABELS` only in data of two classes.
    """

    def __init__(self, columns=((), (), ()), *, split=None, path=None, skipped=None, names=LABELS):
        super().__init__(columns)
        self.split, self.path, self.skipped, self.names = split, path, dict(skipped or {}), names


def read_snli(data_dir, is_train=None, *, split=None, limit=None, max_skipped=MAX_SKIPPED):
    """Read a split of SNLI, or of a reader's own pairs: an `SNLIData`, [premises, hypotheses, labels].

    SNLI's sentences are the words of the binary-parse columns, brackets removed, case kept (chapter,
    section 'The Stanford Natural Language Inference Dataset'). Other files may be JSON lines, JSON,
    CSV or TSV; `data_dir` is their folder, or `PairFiles`. `is_train` chooses train or test as
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
    files = PairFiles.of(data_dir)
    path, share = files.path(split), 1.0 if files.skip_bad else max_skipped
    read_label = _label_reader(files.labels, files.two_classes)
    rows = PairRows(path, read_label, columns=files.columns, max_skipped=share)
    if 'label' not in rows.columns:
        found, allowed = ', '.join(map(str, rows.columns)), 'a column of labels'
        raise DataError('no labels', where=str(path), found=found, allowed=allowed, remedy=_NAME_IT)
    # Three lists, as in the chapter: the i-th premise, hypothesis and label belong together.
    premises, hypotheses, labels = [], [], []
    for premise, hypothesis, label in itertools.islice(rows, limit):
        premises.append(premise)
        hypotheses.append(hypothesis)
        labels.append(label)
    # A few malformed rows are a warning, many are an error.
    rows.check(total=rows.number - rows.before)
    if not labels:
        rows.check(total=0)
        found, allowed = f'{rows.number - rows.before} rows', ', '.join(LABELS)
        remedy = 'use a file with at least one labelled pair'
        raise DataError('no row has a gold label', str(path), found, allowed, remedy)
    warn_of_skipped(path, rows.skipped)
    names = (LABELS[0], 'not-entailment') if _NEITHER in labels else LABELS
    labels = [min(label, len(names) - 1) for label in labels]
    return SNLIData((premises, hypotheses, labels), split=split, path=path, skipped=rows.skipped, names=names)


def _check(name, value, is_right, allowed):
    if not is_right:
        remedy, found = f'pass an allowed value as {name}', 'nothing' if value is None else value
        raise SettingsError(f'invalid {name}', where=name, found=found, allowed=allowed, remedy=remedy)


def _label_reader(order=None, two_classes=False, required=True):
    """A function from the cell of a label to its number; `order` says what the labels 0, 1, … mean."""
    second = ('not-entailment', 'non-entailment') if two_classes else ()
    numbers = {**_LABEL_IDS, **dict.fromkeys(second, _NEITHER)}
    for number, name in enumerate(order or ()):
        _check('labels', name, _plain(name) in numbers, ', '.join(numbers))
        numbers[str(number)] = numbers[_plain(name)]

    def read(cell):
        try:
            return numbers[cell]
        except (KeyError, TypeError):
            name = _plain(cell)
        if name in numbers:
            return numbers[name]
        # What most of the five judges said is the gold label; `-` if no three of them agreed.
        if name in ('', '-', '-1') and not required:
            return None
        if name in ('', '-', '-1'):
            raise BadRow(NO_LABEL)
        two = 'data of two classes can be evaluated, not trained with' * name.endswith('-entailment')
        remedy = _HUGGING_FACE if name.isdigit() else two or 'correct or delete the line, or --skip-bad'
        raise BadRow('unknown label', cell, ', '.join([*numbers, '-']), remedy)

    return read


def _plain(label):
    # Files say Not_Entailment, 2, 2.0 (a column with gaps) or nothing.
    plain = '' if label is None else str(label).strip().lower()
    return plain.replace('_', '-').replace(' ', '-').removesuffix('.0')


class Paragraphs(list):
    """Paragraphs, and `skipped`, which maps a reason to (how many lines had no use, the first numbers)."""

    def __init__(self, paragraphs=(), skipped=None):
        super().__init__(paragraphs)
        self.skipped = dict(skipped or {})


def read_wiki(data_dir, split='train'):
    """Read a `split` of WikiText-2, or a text file: `Paragraphs`, lists of sentences (lower-case strings).

    A line is a paragraph if it has ' . ' inside, and is cut there (chapter, section 'The Dataset
    for Pretraining BERT'). The order is the file's. Splits are 'train', 'valid' and 'test'. If `data_dir` is
    a file, it may hold a sentence a line, blank lines between documents, or running text. Raises `DataError`.

    >>> from bertnli import download_extract
    >>> paragraphs = read_wiki(download_extract('wikitext-2', data_dir='sample'), 'valid')
    >>> all(sentence == sentence.lower() for sentence in paragraphs[0])
    True
    """
    _check('split', split, split in ('train', 'valid', 'test'), 'train, valid, test')
    if os.path.isfile(data_dir):
        path, (paragraphs, skipped) = data_dir, read_prose(data_dir)
    else:
        path = os.path.join(data_dir, f'wiki.{split}.tokens')
        rows = Rows(read_lines(path), path, _parse_paragraph)
        paragraphs, skipped = [*rows], rows.skipped
    if not paragraphs:
        allowed = "paragraphs, one a line, whose sentences end with ' . '; or running text in a file"
        remedy = 'use the .tokens files of the WikiText-2 archive unchanged, or name a text file'
        raise DataError('no line holds a paragraph', where=str(path), allowed=allowed, remedy=remedy)
    return Paragraphs(paragraphs, skipped)


def _parse_paragraph(text):
    # Headings have no sentences. As in the chapter, the last one keeps its full stop.
    if ' . ' not in text:
        raise BadRow(NO_SENTENCES if text.strip() else BLANK)
    return text.strip().lower().split(' . ')


def read_pairs(path_or_file, *, columns=None, labels=None):
    """Yield a `SentencePair` for each row of a file of pairs: JSON lines, JSON, CSV or TSV, also gzipped.

    `path_or_file` is a path, '-' for standard input, or what yields lines (bytes or str). `columns` names the
    columns, {'premise': …, 'hypothesis': …, 'label': …}, if their names are unusual; `labels` says what the
    labels 0, 1, … mean. A file may have no labels. Of TSV and CSV one row is held at a time. Raises
    `DataError` with the line number at the first malformed line.

    >>> next(read_pairs(['A dog runs.\\tAn animal moves.\\n']))
    SentencePair(premise='A dog runs.', hypothesis='An animal moves.', label=None)
    """
    rows = PairRows(path_or_file, _label_reader(labels, required=False), columns=columns)
    yield from itertools.starmap(SentencePair, without_holes(rows))
