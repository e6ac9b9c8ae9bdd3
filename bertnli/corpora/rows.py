"""Lines of a file, and what is said of those that cannot be used."""

import functools
import os
import stat
import warnings

from ..errors import DataError, SettingsError

# Honest gaps: counted, never an error. (Files that were joined have their header more than once.)
_NO_LABEL, _BLANK, _HEADER_AGAIN = 'no gold label', 'blank line', 'header again'
_GAPS = (_NO_LABEL, _BLANK, _HEADER_AGAIN)
_LONGEST_LINE = 2**24  # bytes; no file, whatever it holds, fills the memory with one line
_FIRST_LINES = 5  # how many line numbers a reason keeps


class _BadRow(Exception):
    """Why a row cannot be used: a reason to count, and the value, allowed values and remedy."""

    def __init__(self, reason, found, allowed, remedy):
        super().__init__(reason)
        self.reason, self.found, self.allowed, self.remedy = reason, found, allowed, remedy


def _check_limits(limit, max_skipped):
    if limit is not None and limit < 1:
        raise SettingsError(
            'nothing would be read',
            where='limit',
            found=limit,
            allowed='a whole number from 1, or None for all',
            remedy='raise the limit',
        )
    if not 0 <= max_skipped <= 1:
        raise SettingsError(
            'the share of malformed rows is no share',
            where='max_skipped',
            found=max_skipped,
            allowed='0 to 1',
            remedy='0.01 tolerates one row in a hundred',
        )


def _open(path):
    """Open for reading bytes, with our own errors for what is not a file with something in it."""
    try:
        file = open(path, 'rb')  # noqa: SIM115 (the caller closes it)
    except OSError as error:
        raise DataError(
            'the file cannot be read',
            where=str(path),
            found=error.strerror,
            allowed='a file that exists and that you may read',
            remedy='name a folder that holds this file, or a file that may be read',
        ) from error
    if os.fstat(file.fileno()).st_size == 0 and os.path.isfile(path):
        file.close()
        raise DataError(
            'the file is empty',
            where=str(path),
            found='0 bytes',
            allowed='at least one line',
            remedy='copy or unpack it again',
        )
    return file


def _lines(file, path):
    """The lines of a binary file (of an endless one its beginning); `DataError` if it changes meanwhile."""
    before = os.fstat(file.fileno())
    # One byte more than allowed, so that _decode can tell.
    for line in iter(functools.partial(file.readline, _LONGEST_LINE + 1), b''):
        yield line
        while len(line) > _LONGEST_LINE and not line.endswith(b'\n'):
            line = file.readline(_LONGEST_LINE + 1)
    after = os.fstat(file.fileno())
    changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if changed and stat.S_ISREG(after.st_mode):
        raise DataError(
            'the file changed while it was read',
            where=str(path),
            found=f'{before.st_size} bytes, then {after.st_size}',
            remedy='wait until it is written, then retry',
        )


def _decode(line):
    """One line of UTF-8 as text, without its end (\\n or \\r\\n)."""
    if len(line) > _LONGEST_LINE:
        raise _BadRow('line too long', line[:40], f'{_LONGEST_LINE} bytes', 'break the line')
    try:
        return line.decode('utf-8').rstrip('\r\n')
    except UnicodeDecodeError as error:
        start = max(0, error.start - 20)
        raise _BadRow(
            'not UTF-8',
            line[start : error.start + 20],
            'UTF-8 text',
            'save the file as UTF-8',
        ) from error


def _as_error(path, number, bad):
    return DataError(
        bad.reason,
        where=f'{path}, line {number}',
        found=bad.found,
        allowed=bad.allowed,
        remedy=bad.remedy,
    )


def _check_skipped(skipped, first, max_skipped, rows):
    """Raise the first malformed row's error, which then says how many there are, if they are too many."""
    numbers = sorted(n for reason, lines in skipped.items() if reason not in _GAPS for n in lines)
    if len(numbers) > max_skipped * rows:
        if len(numbers) > 1:
            some = ', '.join(map(str, numbers[:_FIRST_LINES]))
            first.problem = (
                f'{len(numbers)} malformed rows (lines {some}, …) are more than '
                f'{max_skipped:.2%} of the file; the first: {first.problem}'
            )
        raise first


def warn_of_skipped(path, skipped):
    """Warn if malformed rows were left out; `skipped` is an `SNLIData`'s."""
    reasons = [
        f'{n} {reason} (line {lines[0]})' for reason, (n, lines) in skipped.items() if reason not in _GAPS
    ]
    if reasons:
        warnings.warn(f'{path}: malformed rows are left out: {", ".join(reasons)}', stacklevel=3)
