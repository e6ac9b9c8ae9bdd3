"""Rows of a text file, one by one: those that cannot be used are counted, and told."""

import collections
import csv
import functools
import gzip
import io
import os
import select
import stat
import sys
import warnings
import zlib

from ..errors import DataError
from ..machine.disk import unreadable

# Honest gaps: counted, never an error. (Headings are no paragraphs; joined files repeat their header.)
NO_LABEL, BLANK, HEADER = 'no gold label', 'blank line', 'repeated header'
NO_SENTENCES = 'line without a next sentence'
_GAPS = (NO_LABEL, BLANK, HEADER, NO_SENTENCES)
_LONGEST_LINE = 2**24  # bytes; no file, whatever it holds, fills the memory with one line
_FIRST_LINES = 5  # how many line numbers are kept for each reason
# How files begin that hold tables, but no text: spreadsheets (or archives), old spreadsheets, Parquet.
_NO_TEXT = (b'PK\x03\x04', b'\xd0\xcf\x11\xe0', b'PAR1')
BAD_ROW = 'correct or delete the line, or leave such rows out: --skip-bad, in Python max_skipped=1'


class BadRow(DataError):
    """Why a row cannot be used. Where it is, `Rows` adds."""

    def __init__(self, problem, found=None, allowed=None, remedy=None):
        super().__init__(problem, None, found, allowed, remedy)


class Rows:
    """What `parse(record)` returns for each line. Those for which it raises `BadRow` are skipped and counted.

    The first malformed line raises `DataError`, unless `max_skipped` tolerates a share of them: then `check`
    decides in the end. `skipped` maps a reason to (how many lines, the first line numbers).

    >>> rows = Rows(['1\\n', '2\\n'], 'numbers.txt', int)
    >>> list(rows), rows.number, rows.skipped
    ([1, 2], 2, {})
    """

    def __init__(self, lines, name, parse, max_skipped=0):
        self.name, self.max_skipped, self.skipped, self._first = name, max_skipped, {}, None
        self.unit, self.on_bad = 'line', None  # `on_bad` is called with the error of each malformed line
        self.number = self.before = 0  # lines that were read, and those before the first row
        self.lines = iter(lines)
        self.records = map(decode, self.lines)
        if parse:
            self.parse = parse

    def __iter__(self):
        parse, records = self.parse, self.records
        several = hasattr(records, 'line_num')  # a record of CSV may have several lines: the first is told
        while True:
            self.number += 1
            try:
                row = parse(next(records))
            except StopIteration:
                self.number -= 1
                return
            except csv.Error as error:
                allowed = 'cells in quotes where they hold a comma; quotes inside them doubled'
                self._skip(BadRow('malformed CSV', error, allowed, BAD_ROW))
            except BadRow as bad:
                self._skip(bad)
            else:
                yield row
            if several:
                self.number = self.before + records.line_num

    def count_skipped(self, reason, number, count=1):
        """Count lines that are not used, and remember the number of the first."""
        before, numbers = self.skipped.get(reason, (0, []))
        self.skipped[reason] = before + count, [*numbers, number][:_FIRST_LINES]

    def _skip(self, bad):
        self.count_skipped(bad.problem, self.number)
        if bad.problem in _GAPS:
            return
        self.located(bad, self.number)
        if not self.max_skipped:
            try:
                raise bad
            finally:
                del bad  # it keeps this call, and with it the open file, as this call would keep it
        self._first = self._first or bad.with_traceback(None)
        if self.on_bad:
            self.on_bad(bad)

    def located(self, bad, number):
        bad.where = f'{self.name}, {self.unit} {number}'
        return bad

    def check(self, total):
        """Raise the first malformed row's error if too many of the `total` rows are malformed."""
        bad = [entry for reason, entry in self.skipped.items() if reason not in _GAPS]
        count = sum(n for n, _ in bad)
        if count > max(1, self.max_skipped * total):
            some = ', '.join(map(str, sorted(n for _, lines in bad for n in lines)[:_FIRST_LINES]))
            many = f'{count} malformed rows (lines {some}, …) exceed {self.max_skipped:.2%} of the file'
            many = many if total else f'all {count} rows are malformed'
            self._first.problem = f'{many}; the first: {self._first.problem}'
        if count > self.max_skipped * total:
            raise self._first


def warn_of_skipped(path, skipped):
    bad = [(reason, entry) for reason, entry in skipped.items() if reason not in _GAPS]
    if bad:
        reasons = ', '.join(f'{count} {reason} (line {lines[0]})' for reason, (count, lines) in bad)
        warnings.warn(f'{path}: skipped malformed rows: {reasons}', stacklevel=3)


def read_lines(path):
    """The lines of a file, also a gzipped one, as bytes.

    Raises `DataError` if it cannot be read, is empty, is no text or changes meanwhile.
    """
    try:
        file = open(path, 'rb')  # noqa: SIM115 (closed by the `with` below)
    except OSError as error:
        raise unreadable(path, error) from error
    with file:
        before = os.fstat(file.fileno())
        if before.st_size == 0 and stat.S_ISREG(before.st_mode):
            remedy = 'copy or unpack it again'
            raise DataError('the file is empty', path, '0 bytes', 'at least one line', remedy)
        start = file.peek(4)[:4]
        if start in _NO_TEXT:
            remedy = 'save the table as CSV (UTF-8), or unpack the archive'
            raise DataError('not a text file', path, start, 'text', remedy)
        content = gzip.GzipFile(fileobj=file) if start[:2] == b'\x1f\x8b' else file
        try:
            # One byte more than allowed, so that `decode` can tell.
            for line in iter(functools.partial(content.readline, _LONGEST_LINE + 1), b''):
                yield line
                while len(line) > _LONGEST_LINE and not line.endswith(b'\n'):
                    line = content.readline(_LONGEST_LINE + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError('the gzipped file is damaged', path, error, remedy='copy it again') from error
        after = os.fstat(file.fileno())
    changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if changed and stat.S_ISREG(after.st_mode):
        found, remedy = f'{before.st_size} bytes, then {after.st_size}', 'retry once it is written'
        raise DataError('the file changed while it was read', path, found, remedy=remedy)


def standard_input():
    """The lines of standard input, `Arriving` ones where it is a pipe or a file."""
    try:
        return Arriving(sys.stdin.fileno())
    except io.UnsupportedOperation:  # a notebook's or a test's
        return iter(getattr(sys.stdin, 'buffer', sys.stdin))
    except (AttributeError, ValueError) as error:
        raise DataError('standard input is closed', remedy='name a file, or pipe one in') from error


class Arriving:
    """The lines that come out of a pipe; `ready()` tells whether another one is there, without waiting."""

    def __init__(self, fd):
        self._fd, self._lines, self._rest, self._open = fd, collections.deque(), b'', True

    def ready(self, patience=0):
        """Receive until a line is there; gives up after so many seconds of silence (None: never)."""
        while not self._lines and self._open and select.select([self._fd], [], [], patience)[0]:
            data = os.read(self._fd, 1 << 16)
            *whole, self._rest = (self._rest + data).split(b'\n')
            self._lines.extend(line + b'\n' for line in whole)
            self._open = bool(data)
            if self._rest and (not data or len(self._rest) > _LONGEST_LINE):
                self._lines.append(self._rest)
                self._rest = b''
        return bool(self._lines)

    def __iter__(self):
        while self.ready(patience=None):
            yield self._lines.popleft()


def decode(line):
    """One line (UTF-8 or str) as text, without byte order mark and line end."""
    if len(line) > _LONGEST_LINE:
        raise BadRow('line too long', line[:40], f'{_LONGEST_LINE} bytes', 'break the line')
    try:
        text = line.decode('utf-8') if isinstance(line, bytes) else str(line)
    except UnicodeDecodeError as error:
        some = line[max(0, error.start - 20) : error.start + 20]
        raise BadRow('not UTF-8', some, 'UTF-8 text', 'save the file as UTF-8') from error
    return text.lstrip('\ufeff').rstrip('\r\n')
