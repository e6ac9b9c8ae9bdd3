"""The cache folder: where it is, and one process at a time in it."""

import contextlib
import os
import sys
from pathlib import Path

import lazy_loader as lazy

from ..errors import DataError
from ..machine.disk import checksum

# Both are needed only when an archive is unpacked or downloaded.
platformdirs = lazy.load('platformdirs')
filelock = lazy.load('filelock')


def cache_dir():
    """The folder for what we unpack, download or encode: `BERTNLI_CACHE`, or the system's place."""
    path = Path(os.environ.get('BERTNLI_CACHE') or platformdirs.user_cache_dir('bertnli'))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            'the cache folder cannot be created',
            where=str(path),
            found=str(error),
            remedy='name a folder that can be written in the environment variable BERTNLI_CACHE',
        ) from error
    return path


def _checksum(path, kind='sha256'):
    try:
        return checksum(path, kind)
    except OSError as error:
        raise DataError(
            'the file cannot be read',
            where=str(path),
            found=error.strerror,
            remedy='make it readable, or name another folder as data_dir',
        ) from error


def _manual_way(corpus):
    address = corpus.urls[0]
    return f'download {address} by any means, put it into a folder and name the folder as data_dir'


@contextlib.contextmanager
def _alone(path):
    """Let one process at a time work at `path`; the system ends the lock of a process that dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path.with_name(f'.{path.name}.lock'))
    try:
        lock.acquire(timeout=1)
    except filelock.Timeout:
        print(f'waiting for another process, which prepares {path}', file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _cannot_write(folder, error):
    return DataError(
        'the cache cannot be written',
        where=str(folder),
        found=str(error),
        remedy='make room, or name another folder in the environment variable BERTNLI_CACHE',
    )
