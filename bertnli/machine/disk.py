"""Files that are written whole or not at all."""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

from ..errors import DataError


def checksum(path, kind='sha256'):
    """The checksum of a file's bytes, as hexadecimal digits."""
    digest = hashlib.new(kind)
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def whole_file(path):
    """A binary file to write into, which is at `path` when the block ends well: whoever looks finds it whole.

    Written aside, flushed to the disk, then renamed over. Its folder is made if need be; after an error
    nothing has changed. What a killed process leaves aside is called `.NAME-…`. Raises `OSError`.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole_file(folder + '/a.txt') as file:
    ...         count = file.write(b'whole')
    ...         print(os.path.exists(folder + '/a.txt'))
    ...     print(os.listdir(folder))
    False
    ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}-')
    try:
        with os.fdopen(handle, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o644)  # mkstemp's files are for their owner only
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def write_json(path, content):
    """Write a JSON file whole or not at all; `DataError` if it cannot be, or `content` is no JSON.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(Path(folder, 'a.json'), {'a': 1})
    ...     Path(folder, 'a.json').read_text()
    '{\\n  "a": 1\\n}\\n'
    """
    path, content = Path(path), _as_json(content)
    try:
        _write(path, content)
    except OSError as error:
        raise DataError(
            'the file cannot be written',
            where=str(path),
            found=str(error),
            remedy='choose a folder that you may write to, on a disk with room',
        ) from error


def _as_json(content):
    """Bytes of strict JSON: readers in other languages refuse NaN and infinity."""
    try:
        return json.dumps(content, indent=2, allow_nan=False).encode() + b'\n'
    except (TypeError, ValueError) as error:
        raise DataError(
            'this cannot be written as JSON',
            found=str(error),
            allowed='words, finite numbers, and lists and dictionaries of them',
            remedy='convert arrays with .tolist() and numbers with float()',
        ) from error


def _write(path, content):
    with whole_file(path) as file:
        file.write(content)
