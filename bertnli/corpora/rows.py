"""Rows of a text file, one by one: those that cannot be used are counted, and told."""

import functools
import os
import stat
import warnings

from ..errors import DataError
from ..machine.disk import unreadable

# Honest gaps: counted, never an error. (Files that were joined repeat their header.)
NO_LABEL, BLANK, HEADER = 'no gold label', 'blank line', 'repeated header'
_GAPS = (NO_LABEL, BLANK, HEADER)
_LONGEST_LINE = 2**24  # bytes; no file, whatever it holds, fills the memory with one line
_FIRST_LINES = 5  # how many line numbers are kept for each reason


class BadRow(Exception):
    """Why a row cannot be used: a reason to count, and the value, allowed values and remedy."""

    def __init__(self, reason, found=None, allowed=None, remedy=None):
        super().__init__(reason)
        self.reason, self.parts = reason, {'found': found, 'allowed': allowed, 'remedy': remedy}


class Rows:
    """What `parse(text)` returns for each line. Lines for which it raises `BadRow` are skipped and counted.

    The first malformed line raises `DataError`, unless `max_skipped` tolerates a share of them: then `check`
    decides in the end. `skipped` maps a reason to (how many lines, the first line numbers).

    >>> rows = Rows(['1\\n', '2\\n'], 'numbers.txt', int)
    >>> list(rows), rows.number, rows.skipped
    ([1, 2], 2, {})
    """

    def __init__(self, lines, name, parse, max_skipped=0):
        self.lines, self.name, self.parse, self.max_skipped = iter(lines), name, parse, max_skipped
        self.number, self.skipped, self._first = 0, {}, None

    def header(self):
        """The first line, which is no row."""
        self.number = 1
        try:
            return _decode(next(self.lines, b''))
        except BadRow as bad:
            raise self.error(1, bad) from bad

    def __iter__(self):
        for line in self.lines:
            self.number += 1
            try:
                row = self.parse(_decode(line))
            except BadRow as bad:
                self._skip(bad)
            else:
                yield row

    def _skip(self, bad):
        count, lines = self.skipped.get(bad.reason, (0, []))
        self.skipped[bad.reason] = count + 1, [*lines, self.number][:_FIRST_LINES]
        if bad.reason not in _GAPS:
            self._first = self._first or self.error(self.number, bad)
            if not self.max_skipped:
                raise self._first from bad

    def error(self, number, bad):
        return DataError(bad.reason, where=f'{self.name}, line {number}', **bad.parts)

    def check(self, total):
        """Raise the first malformed row's error if too many of the `total` rows are malformed."""
        bad = [entry for reason, entry in self.skipped.items() if reason not in _GAPS]
        count = sum(n for n, _ in bad)
        if count > max(1, self.max_skipped * total):
            some = ', '.join(map(str, sorted(n for _, lines in bad for n in lines)[:_FIRST_LINES]))
            many = f'{count} malformed rows (lines {some}, …) exceed {self.max_skipped:.2%} of the file'
            self._first.problem = f'{many}; the first: {self._first.problem}'
        if count > self.max_skipped * total:
            raise self._first


def warn_of_skipped(path, skipped):
    bad = [(reason, entry) for reason, entry in skipped.items() if reason not in _GAPS]
    if bad:
        reasons = ', '.join(f'{count} {reason} (line {lines[0]})' for reason, (count, lines) in bad)
        warnings.warn(f'{path}: skipped malformed rows: {reasons}', stacklevel=3)


def read_lines(path):
    """The lines of a file as bytes; `DataError` if it cannot be read, is empty or changes meanwhile."""
    try:
        file = open(path, 'rb')  # noqa: SIM115 (closed by the `with` below)
    except OSError as error:
        raise unreadable(path, error) from error
    with file:
        before = os.fstat(file.fileno())
        if before.st_size == 0 and stat.S_ISREG(before.st_mode):
            parts = {'found': '0 bytes', 'allowed': 'at least one line', 'remedy': 'copy or unpack it again'}
            raise DataError('the file is empty', where=str(path), **parts)
        # One byte more than allowed, so that _decode can tell.
        for line in iter(functools.partial(file.readline, _LONGEST_LINE + 1), b''):
            yield line
            while len(line) > _LONGEST_LINE and not line.endswith(b'\n'):
                line = file.readline(_LONGEST_LINE + 1)
        after = os.fstat(file.fileno())
    changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if changed and stat.S_ISREG(after.st_mode):
        found, remedy = f'{before.st_size} bytes, then {after.st_size}', 'retry once it is written'
        raise DataError('the file changed while it was read', where=str(path), found=found, remedy=remedy)


def _decode(line):
    """One line (UTF-8 or str) as text, without byte order mark and line end."""
    if len(line) > _LONGEST_LINE:
        raise BadRow('line too long', line[:40], f'{_LONGEST_LINE} bytes', 'break the line')
    try:
        text = line.decode('utf-8') if isinstance(line, bytes) else str(line)
    except UnicodeDecodeError as error:
        some = line[max(0, error.start - 20) : error.start + 20]
        raise BadRow('not UTF-8', some, 'UTF-8 text', 'save the file as UTF-8') from error
    return text.lstrip('\ufeff').rstrip('\r\n')
