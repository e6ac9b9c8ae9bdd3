"""Pairs of sentences in the forms that people have them: JSON lines, JSON, CSV and TSV, told by content.

Where the files of a data set are, `PairFiles` knows; what a row holds, `PairRows`. Labels stay words here.
"""

import contextlib
import csv
import functools
import itertools
import json
import os
import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, Optional

from ..errors import DataError
from .rows import BAD_ROW, BLANK, HEADER, BadRow, Rows, decode, read_lines, standard_input
from .treebank import QUOTED, words

# Names of columns, in any case; the first that a file has is read. Where the corpus' authors split the
# sentences themselves, that is what models were trained on.
_NAMES = {
    'premise': ('sentence1_binary_parse', 'premise', 'sentence1', 'text1'),
    'hypothesis': ('sentence2_binary_parse', 'hypothesis', 'sentence2', 'text2'),
    'label': ('gold_label', 'label'),
}
_LABEL = re.compile(r'entailment|contradiction|neutral|no[nt][-_ ]entailment|-|-?\d', re.IGNORECASE)
_SPLITS = {
    'train': ('train', 'training'),
    'dev': ('dev', 'validation', 'valid', 'val', 'dev_matched', 'validation_matched'),
    'test': ('test', 'test_matched'),
}
_ENDINGS = ('txt', 'tsv', 'csv', 'jsonl', 'ndjson', 'json')
_NAME_THEM = 'name them, as in --columns premise=text_a,hypothesis=text_b,label=gold'


class NotHere(DataError):
    """A corpus, or one of its splits, is not where it was looked for."""


class PairFiles(NamedTuple):
    """Where labelled pairs are and how to read them: a `folder` of splits, or files named one by one.

    Taken wherever a folder of SNLI is: `read_snli`, `load_data_snli`, `SNLIBERTDataset.from_folder`. `train`,
    `dev` and `test` are paths of files. `columns` is {'premise': the name of its column, …}, `labels` what
    the labels 0, 1, … mean (None: labels are words). `skip_bad` leaves out malformed rows, however many; with
    `two_classes` `not-entailment` is a label.

    >>> PairFiles(train='my.csv', dev='my.jsonl').path('dev')
    'my.jsonl'
    """

    folder: Optional[str] = None
    train: Optional[str] = None
    dev: Optional[str] = None
    test: Optional[str] = None
    columns: Optional[dict] = None
    labels: Optional[tuple] = None
    skip_bad: bool = False
    two_classes: bool = False

    @classmethod
    def of(cls, source):
        """The same, or those of a folder."""
        return source if isinstance(source, cls) else cls(source)

    @property
    def named(self):
        """The files named one by one."""
        return [path for path in self[1:4] if path]

    def path(self, split):
        """The file of a split; raises `NotHere`."""
        if getattr(self, split):
            return getattr(self, split)
        found = _split_files(self.folder, split) if self.folder else []
        where = self.folder or 'the files named'
        remedy = f'name the file: --{split} FILE, or PairFiles({split}=…)'
        if not found:
            allowed = f'a file like {split}.csv, {split}.tsv, {split}.jsonl or snli_1.0_{split}.txt'
            raise NotHere(f'no file for the split {split}', where, 'none', allowed, remedy)
        if len({(match[1], match[2]) for match in found}) > 1:
            names = [match[0] for match in found]
            raise DataError(f'several files for the split {split}', where, names, remedy=remedy)
        # The same in several forms, as SNLI and MultiNLI come: any will do.
        return os.path.join(self.folder, min(found, key=lambda match: _ENDINGS.index(match[3].lower()))[0])


def has_pairs(folder):
    """Whether there is a file for some split."""
    return any(_split_files(folder, split) for split in _SPLITS)


def _split_files(folder, split):
    names, endings = '|'.join(_SPLITS[split]), '|'.join(_ENDINGS)
    pattern = re.compile(rf'(?:(.*)[_-])?({names})\.({endings})(\.gz)?', re.IGNORECASE)
    listed = sorted(os.listdir(folder)) if os.path.isdir(folder) and os.access(folder, os.R_OK) else []
    return [match for match in map(pattern.fullmatch, listed) if match]


class PairRows(Rows):
    """(premise, hypothesis, label) of each row of a file, whatever its form; tells `form` and `columns`.

    `source` is a path, '-' or lines; `read_label` makes a label of a cell, or raises `BadRow`. Without it, or
    in a file without labels, they are None. Raises `DataError` if form or columns are not understood.

    >>> rows = PairRows(['Premise,Hypothesis\\n', '"A dog, a cat.",Animals.\\n'])
    >>> rows.form, list(rows)
    ('CSV', [('A dog, a cat.', 'Animals.', None)])
    """

    def __init__(self, source, read_label=None, *, columns=None, max_skipped=0):
        lines, name = source, getattr(source, 'name', 'the lines given')
        if source == '-':
            lines, name = standard_input(), 'standard input'
        elif isinstance(source, (str, os.PathLike)):
            lines, name = read_lines(source), source
        super().__init__(lines, name, None, max_skipped)
        self.ready = getattr(lines, 'ready', lambda: True)
        self.form, self.columns, self._read_label, asked = 'nothing', {}, read_label, columns or {}
        self._objects = False  # whether each row names its columns
        seen = []
        try:
            for line in self.lines:
                seen.append(line)
                first = decode(line)
                if first.strip():
                    break
            else:  # no line but blank ones
                return
            names, split = self._form_of(first, asked)
            self._choose(names, asked)
        except BadRow as bad:
            self.located(bad, len(seen))
            raise
        if self._head:
            self.number = self.before = len(seen)
        elif self.form != 'JSON':
            self.lines = itertools.chain(seen, self.lines)
        self.records = split(self.lines)

    def _form_of(self, first, asked):
        """The cells of the first row, which may be names, and a function from lines to rows of cells."""
        try:
            value = json.loads(first)
        except (ValueError, RecursionError):
            value = None
        parts = value.values() if isinstance(value, dict) else ()
        whole = any(isinstance(part, list) and part and isinstance(part[0], dict) for part in parts)
        row = isinstance(value, dict) or (value and isinstance(value, list) and isinstance(value[0], str))
        begins = re.match(r'\s*[\[{]\s*($|[\[{"])', first) and '\t' not in first.strip()
        if row and not whole:
            self.form = 'JSON lines'
        elif whole or begins:
            self.form, self.unit = 'JSON', 'entry'
            entries = self._whole_json(first)
            self.lines, value = iter(entries), entries[0]
        elif '\t' in first:
            self.form = 'TSV'
            # subtle: map goes on after a line that cannot be read; a generator would end.
            return first.split('\t'), functools.partial(map, lambda line: decode(line).split('\t'))
        else:
            return self._comma_form(first, asked)
        self._objects = isinstance(value, dict)
        read = _json_line if self.form == 'JSON lines' else _cells_of
        return [*map(str, value)], functools.partial(map, functools.partial(read, list(value)))

    def _whole_json(self, first):
        problem, found = 'not a list of pairs', first
        try:
            content = json.loads('\n'.join([first, *map(decode, self.lines)]))
            if isinstance(content, dict):  # {"data": […]}
                content = next((part for part in content.values() if isinstance(part, list)), [])
            if isinstance(content, list) and content and isinstance(content[0], (dict, list)):
                return content
        except (ValueError, RecursionError, BadRow) as error:
            problem, found = 'malformed JSON', str(error)
        allowed = 'a list of objects like {"premise": "…", "hypothesis": "…", "label": "…"}, or one a line'
        raise DataError(problem, self.name, found, allowed, 'correct the file')

    def _comma_form(self, first, asked):
        known = {name.lower() for name in (*itertools.chain(*_NAMES.values()), *asked.values())}
        # Without names of columns, a comma may as well be a sentence's own.
        likely = first.startswith('"') or re.search(r'\.csv(\.gz)?$', str(self.name), re.IGNORECASE)
        for split in (functools.partial(_comma_rows, mark) for mark in ',;'):
            with contextlib.suppress(csv.Error):
                cells = next(split([first]))
                if len(cells) > 1 and (likely or len(known & {cell.strip().lower() for cell in cells}) > 1):
                    self.form = 'CSV'
                    return cells, split
        return [first], None

    def _choose(self, names, asked):
        """Which columns are read: by the reader's names, by the usual ones, or by their order."""
        places = {name.strip().lower(): place for place, name in reversed([*enumerate(names)])}
        found = {}
        for role, usual in _NAMES.items():
            for name in [asked[role]] if role in asked else usual:
                if name.lower() in places:
                    found.setdefault(role, places[name.lower()])
        named = {'premise', 'hypothesis', *asked} <= set(found)
        if not (found or asked or self._objects):
            if len(names) == 1:
                allowed = 'premise and hypothesis with a tab between them, CSV with names of columns, or JSON'
                remedy = 'separate the sentences by one tab'
                raise BadRow('wrong column count', names[0], allowed, remedy)
            found = {role: place for place, role in enumerate(_usual_order(names))}
        if not {'premise', 'hypothesis', *asked} <= set(found):
            allowed = ', '.join(asked.values())
            allowed = allowed or 'premise, hypothesis and label; sentence1, sentence2 and gold_label'
            raise BadRow('the columns are not understood', names, allowed, _NAME_THEM)
        self.columns = {role: names[place] if named else place + 1 for role, place in found.items()}
        if not self._read_label:
            found.pop('label', None)
        self._places, self._width = [*map(found.get, _NAMES)], len(names)
        first = names[found['premise']]
        self._head = first if named and not self.form.startswith('JSON') else None
        binary = named and first.strip().lower().endswith('binary_parse')
        self._clean = _without_brackets if binary else _unquoted if self.form == 'TSV' else str.strip

    def parse(self, cells):
        if len(cells) != self._width:
            cells = self._fitted(cells)
        at_premise, at_hypothesis, at_label = self._places
        premise, hypothesis, label = cells[at_premise], cells[at_hypothesis], None
        if premise == self._head:
            raise BadRow(HEADER)
        if at_label is not None:
            label = self._read_label(cells[at_label])
        try:
            premise, hypothesis = self._clean(premise), self._clean(hypothesis)
        except (TypeError, AttributeError) as error:
            raise BadRow('not a sentence', [premise, hypothesis], 'text', BAD_ROW) from error
        # What is short may be a mark that nobody sees, and no word.
        if (len(premise) < 9 or len(hypothesis) < 9) and not (words(premise) and words(hypothesis)):
            found = f'premise {premise!r}, hypothesis {hypothesis!r}'
            raise BadRow('empty sentence', found, 'at least one word in each', BAD_ROW)
        return premise, hypothesis, label

    def _fitted(self, cells):
        # Editors trim tabs at the end of a line, spreadsheets add some.
        while len(cells) > self._width and cells[-1] == '':
            cells.pop()
        if not any(cells):
            raise BadRow(BLANK)
        if not max(self._places[:2]) < len(cells) <= self._width:
            raise BadRow('wrong column count', f'{len(cells)}: {cells}', f'{self._width} columns', BAD_ROW)
        return cells + [''] * (self._width - len(cells))


def _usual_order(names):
    """Two sentences, and a label before or behind them."""
    if len(names) == 3 and _LABEL.fullmatch(names[2].strip()):
        return 'premise', 'hypothesis', 'label'
    if len(names) == 3 and _LABEL.fullmatch(names[0].strip()):
        return 'label', 'premise', 'hypothesis'
    return ('premise', 'hypothesis') if len(names) == 2 else ()


def without_holes(rows):
    """The same rows; a blank line inside, which would shift the answers, raises `DataError`."""
    for row in rows:
        if BLANK in rows.skipped and not rows.max_skipped:
            _, (number, *_) = rows.skipped[BLANK]
            raise rows.located(BadRow(BLANK, '', 'a pair on every line', 'delete the blank line'), number)
        yield row


class Asked(Iterator):
    """The pairs of some rows for `predict_pairs`, in the windows in which they arrive; `waiting` for answers.

    subtle: it stops where the next line of a pipe would have to be waited for, and goes on when asked again.
    """

    def __init__(self, rows):
        self._rows, self._ready, self._fresh, self.waiting = without_holes(rows), rows.ready, True, deque()

    def __next__(self):
        if not self._fresh and not self._ready():
            self._fresh = True
            raise StopIteration
        row = next(self._rows)
        self._fresh = False
        self.waiting.append(row[:2])
        return row[:2]


def _comma_rows(mark, lines):
    # A cell may hold line ends.
    return csv.reader(map('{}\n'.format, map(decode, lines)), delimiter=mark, strict=True)


def _json_line(names, line):
    text = decode(line)
    if not text.strip():
        raise BadRow(BLANK)
    try:
        return _cells_of(names, json.loads(text), text)
    except (ValueError, RecursionError) as error:
        raise BadRow('malformed JSON', text, 'one object a line', BAD_ROW) from error


def _cells_of(names, entry, text=None):
    if isinstance(entry, dict):
        return [entry.get(name) for name in names]
    if not isinstance(entry, list):
        raise BadRow('malformed JSON', text or entry, 'an object', BAD_ROW)
    return entry


def _without_brackets(parse):
    # '( ( Two women ) smile )' → 'Two women smile'
    return ' '.join(parse.replace('(', '').replace(')', '').split())


def _unquoted(cell):
    # Spreadsheets put a cell into quotes, and double those inside.
    quoted = QUOTED.fullmatch(cell)
    return (quoted[1].replace('""', '"') if quoted else cell).strip()
