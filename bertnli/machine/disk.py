"""Files that are written whole or not at all, by one process; their checksums, and the cache folder."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import sys
import tempfile
from pathlib import Path

import lazy_loader as lazy

from ..errors import DataError

# Both are needed only when something is cached.
platformdirs = lazy.load('platformdirs')
filelock = lazy.load('filelock')


def checksum(path, like=''):
    """The SHA-256 of a file as hexadecimal digits, or its SHA-1 if `like`, a known checksum, is one."""
    digest = hashlib.new('sha1' if len(like) == 40 else 'sha256')
    try:
        with open(path, 'rb') as file:
            for block in iter(lambda: file.read(1 << 20), b''):
                digest.update(block)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()


def unreadable(path, error):
    """The `DataError` for a file that cannot be read."""
    allowed, remedy = 'a file that exists and that you may read', 'check the path and its permissions'
    return DataError('the file cannot be read', path, error.strerror, allowed, remedy)


@contextlib.contextmanager
def whole_file(path):
    """A binary file that is at `path`, whole, once the block has ended well.

    Its folder is made if need be; after an error nothing has changed. What a killed process leaves aside is
    called `.NAME-…`. Raises `OSError`.
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


def read_regular(path):
    """The bytes of a file; `OSError` for a pipe or a device too, which might never end."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 'rb') as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, 'not a regular file')
        return file.read()


@contextlib.contextmanager
def one_writer(folder):
    """Inside, this process alone writes to a folder; `DataError` if another one does.

    The lock is on the folder itself and ends with the process, however it ends. Network drives that lock only
    files get one called `.lock`; on one that knows no locks there is none.
    """
    with contextlib.ExitStack() as opened:
        for path, flags in (folder, os.O_RDONLY), (Path(folder, '.lock'), os.O_RDWR | os.O_CREAT):
            try:
                descriptor = os.open(path, flags, 0o644)
            except OSError:
                continue
            opened.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    remedy = 'wait for its end, or choose another --out'
                    raise DataError('another process writes to this folder', path, remedy=remedy) from error
        yield


def write_bytes(path, content):
    """Write a file whole or not at all. Raises `OSError`."""
    with whole_file(path) as file:
        file.write(content)


def write_json(path, content):
    """Write a JSON file whole or not at all; `DataError` if it cannot be, or `content` is not valid JSON."""
    content = as_json(content)
    try:
        write_bytes(path, content)
    except OSError as error:
        remedy = 'choose a writable folder on a disk with free space'
        raise DataError('the file cannot be written', path, error, remedy=remedy) from error


def as_json(content):
    """Bytes of strict JSON: readers in other languages refuse NaN and infinity.

    >>> as_json({'a': 1})
    b'{\\n  "a": 1\\n}\\n'
    """
    try:
        return json.dumps(content, indent=2, allow_nan=False).encode() + b'\n'
    except (TypeError, ValueError) as error:
        remedy = 'convert arrays with .tolist() and numbers with float(); NaN and infinity are not JSON'
        raise DataError('not serializable as JSON', None, error, remedy=remedy) from error


def cache_dir():
    """The folder for what we unpack, download or encode: `BERTNLI_CACHE`, or the system's place."""
    path = Path(os.environ.get('BERTNLI_CACHE') or platformdirs.user_cache_dir('bertnli'))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_cache(path, error) from error
    return path


def cannot_cache(folder, error):
    """The `DataError` for a cache folder that cannot be made or written."""
    remedy = 'free some space, or set the environment variable BERTNLI_CACHE to another folder'
    return DataError('the cache cannot be written', folder, error, remedy=remedy)


def once(path, is_done, work):
    """Let one process at a time do `work()` at `path`, unless it is done. A lock ends with its process."""
    if is_done():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path.with_name(f'.{path.name}.lock'))
    try:
        held = lock.acquire(timeout=1)
    except filelock.Timeout:
        print(f'waiting for another process that is preparing {path}', file=sys.stderr)
        held = lock.acquire()
    with held:
        if not is_done():  # by whoever held the lock before us
            work()
