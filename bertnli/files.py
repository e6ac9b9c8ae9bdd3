"""Where data comes from: the embedded sample, a folder of yours, or a verified download.

This file finds (and, if asked to, fetches and unpacks) the two corpora of the chapter and answers
with the path of a folder. It does not read what is in the files: that is text.py's work. Whatever
the library writes, it writes through `whole_file`. An archive is never believed: of its members only those
that we read are unpacked, under names of ours, one by one, and into one place whatever it says.
"""

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple, Optional

import lazy_loader as lazy

from .downloads import checksum, download
from .errors import DataError, SettingsError

# Both are needed only when an archive is unpacked or downloaded.
platformdirs = lazy.load('platformdirs')
filelock = lazy.load('filelock')

__all__ = ['REGISTRY', 'cache_dir', 'data_dir', 'download_extract', 'verify', 'where', 'whole_file']

_LARGEST_MEMBER = 2**30  # bytes; the largest file we read has half a gigabyte
_LARGEST_RATIO = 100  # a byte of the archive becomes so many; of the corpora's text, fewer than ten
_SUMS = 'SHA256SUMS'  # beside the folder that was unpacked, as the tool sha256sum reads it


class Corpus(NamedTuple):
    """One published archive: what it is called, what we read of it, where it is, what it weighs."""

    archive: str
    folder: str
    members: tuple
    urls: tuple
    sha1: str
    sha256: str
    member_sha1: tuple = ()  # in the order of `members`, where somebody published them


# Every address serves the same bytes, and the checksum decides: mirrors need no trust. The chapter's address
# for WikiText-2 (research.metamind.io) and MXNet's own copies are dead since 2024.
REGISTRY = {
    'wikitext-2': Corpus(
        archive='wikitext-2-v1.zip',
        folder='wikitext-2',
        members=('wiki.train.tokens', 'wiki.valid.tokens', 'wiki.test.tokens'),
        urls=(
            'https://wikitext.smerity.com/wikitext-2-v1.zip',  # kept by the corpus' first author
            # what the Internet Archive has of the chapter's address
            'https://web.archive.org/web/2022id_/'
            'https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip',
        ),
        sha1='3c914d17d80b1459be871a5039ac23e752a53cbe',
        sha256='92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c',
        # as MXNet's gluon.contrib.data.WikiText2 has them
        member_sha1=(
            '863f29c46ef9d167fff4940ec821195882fe29d1',
            '0418625c8b4da6e4b5c7a0b9e78d4ae8f7ee5422',
            'c7b8ce0aa086fb34dab808c5c49224211eb2b172',
        ),
    ),
    'SNLI': Corpus(
        archive='snli_1.0.zip',
        folder='snli_1.0',
        members=('snli_1.0_train.txt', 'snli_1.0_dev.txt', 'snli_1.0_test.txt'),
        urls=(
            'https://nlp.stanford.edu/projects/snli/snli_1.0.zip',  # official
            'https://web.archive.org/web/2022id_/https://nlp.stanford.edu/projects/snli/snli_1.0.zip',
            'https://foxrelax.oss-cn-hangzhou.aliyuncs.com/ml/snli_1.0.zip',  # a reader's copy
        ),
        sha1='9fcde07509c7e87ec61c640c1b2753d9041758e4',
        sha256='afb3d70a5af5d8de0d9d81e2637e0fb8c22d1235c2749d83125ca43dab0dbd3e',
    ),
}


class Place(NamedTuple):
    """Where a corpus was found. `official` is None where no archive tells (an unpacked folder)."""

    name: str
    kind: str
    path: str
    sha256: Optional[str]
    official: Optional[bool]


class Checked(NamedTuple):
    """A file whose every byte was read. `official` is None where no published checksum is known."""

    path: str
    sha256: str
    official: Optional[bool]


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


def data_dir(source=None):
    """The folder that `source` means: None, 'sample', 'download' or a path.

    None asks the environment variable `BERTNLI_DATA` and falls back to the embedded sample.
    Raises `DataError` if the folder does not exist.

    >>> data_dir('sample').name
    'data'
    """
    source = source or os.environ.get('BERTNLI_DATA') or 'sample'
    if source == 'sample':
        return _sample_dir()
    if source == 'download':
        return cache_dir() / 'downloads'
    path = Path(source).expanduser()
    if not os.path.isdir(path):
        raise DataError(
            'the data folder does not exist, or is not a folder',
            where=str(path),
            found='a file' if os.path.exists(path) else 'nothing that you may read',
            allowed="a folder with the archives or the unpacked corpora, 'sample' or 'download'",
            remedy='correct the path (data_dir=…, --data or the environment variable BERTNLI_DATA)',
        )
    return path


def download_extract(name, folder=None, *, data_dir=None):
    """The path of the folder that holds the files of a corpus ('wikitext-2' or 'SNLI').

    `data_dir` is what the function of that name accepts. A folder may hold the unpacked corpus,
    be the unpacked corpus, or hold the official archive, whose needed files are then unpacked into
    the cache (the folder itself may be read-only). `folder` is the chapter's second argument, the
    folder's name inside the archive. Raises `DataError` with the manual way if nothing is found.

    >>> download_extract('wikitext-2', 'wikitext-2', data_dir='sample').endswith('wikitext-2')
    True
    """
    corpus = _corpus(name)
    if folder not in (None, corpus.folder):
        raise SettingsError(
            f'the archive of {name} holds another folder',
            found=folder,
            allowed=corpus.folder,
            remedy='leave the second argument out',
        )
    kind, path = _find(name, data_dir)
    return str(_unpack(corpus, path) if kind in ('archive', 'download') else path)


def where(name, data_dir=None):
    """Tell where a corpus comes from, and whether its archive is the published one: a `Place`.

    Nothing is downloaded; raises `DataError` where the corpus is not.
    """
    kind, path = _find(name, data_dir, fetch=False)
    if path.is_dir():
        return Place(name, kind, str(path), None, None)
    digest = _checksum(path)
    return Place(name, kind, str(path), digest, digest == _corpus(name).sha256)


def verify(name, data_dir=None):
    """Read every byte of a corpus' archive and of its files that we read: a list of `Checked`.

    Raises `DataError` if something is damaged: the archive, or what was once unpacked from it.
    """
    corpus, place = _corpus(name), where(name, data_dir)
    folder, rows = Path(place.path), []
    if place.sha256:
        rows = [Checked(place.path, place.sha256, place.official)]
        folder = _unpack(corpus, folder)
    sums = _read_sums(folder) if place.sha256 else {}
    for number, member in enumerate(corpus.members):
        path = folder / member
        if not path.is_file():
            continue
        # A published archive has published members; of another one's nothing is known.
        digest, official = _checksum(path), place.official or None
        if sums.get(member, digest) != digest:
            raise DataError(
                'an unpacked file is not what it was',
                where=str(path),
                found=digest,
                allowed=sums[member],
                remedy='delete the file: it is unpacked again when it is needed',
            )
        if corpus.member_sha1:
            official = _checksum(path, 'sha1') == corpus.member_sha1[number]
        rows.append(Checked(str(path), digest, official))
    return rows


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


def _corpus(name):
    if name not in REGISTRY:
        raise SettingsError(
            'there is no corpus of this name',
            found=name,
            allowed=', '.join(REGISTRY),
            remedy='choose one of these names',
        )
    return REGISTRY[name]


def _sample_dir():
    """In an installed package the sample lies inside it, in the repository beside it."""
    here = Path(__file__).resolve().parent
    for path in (here / 'data', here.parent / 'data'):
        if (path / 'snli_1.0').is_dir() or (path / 'wikitext-2').is_dir():
            return path
    raise DataError(
        'the embedded sample is missing',
        where=str(here / 'data'),
        remedy='install the package again, or name a data folder (data_dir=…, BERTNLI_DATA)',
    )


def _find(name, source, fetch=True):
    """(kind, path): the unpacked folder of a corpus, or its archive, whichever the source has."""
    corpus = _corpus(name)
    root = data_dir(source)
    source = source or os.environ.get('BERTNLI_DATA') or 'sample'
    if source == 'download':
        if fetch:
            _fetch(corpus, root)
        elif not (root / corpus.archive).is_file():
            raise DataError(
                f'the corpus {name} has not been downloaded',
                where=str(root),
                remedy=f'bertnli data fetch; or {_manual_way(corpus)}',
            )
        return 'download', root / corpus.archive
    kind = 'sample' if source == 'sample' else 'folder'
    for path in (root / corpus.folder, root):
        if any(os.path.isfile(path / member) for member in corpus.members):
            return kind, path
    if os.path.isfile(root / corpus.archive):
        return 'archive', root / corpus.archive
    try:
        found = sorted(os.listdir(root))
    except OSError as error:
        found = error.strerror
    raise DataError(
        f'the corpus {name} is not in this folder',
        where=str(root),
        found=found,
        allowed=f'{corpus.archive}, or a folder {corpus.folder} with {", ".join(corpus.members)}',
        remedy=f"{_manual_way(corpus)}, or use data_dir='download' or 'sample'",
    )


def _manual_way(corpus):
    address = corpus.urls[0]
    return f'download {address} by any means, put it into a folder and name the folder as data_dir'


def _fetch(corpus, folder):
    """Download the archive unless it is there. `BERTNLI_MIRROR`, a teacher's own server, is asked first."""
    path, mirror = folder / corpus.archive, os.environ.get('BERTNLI_MIRROR')
    mirrors = (f'{mirror.rstrip("/")}/{corpus.archive}',) if mirror else ()

    def missing():
        return not path.is_file() or _checksum(path) != corpus.sha256

    try:
        if missing():
            with _alone(path):
                # Whoever held the lock before us may have done the work.
                if missing():
                    download(mirrors + corpus.urls, path, corpus.sha256)
    except DataError as error:
        error.remedy = f"{_manual_way(corpus)}, or use data_dir='sample'"
        raise
    except OSError as error:
        raise _cannot_write(folder, error) from error


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


# --- archives -------------------------------------------------------------------------------------


def _unpack(corpus, archive):
    """Unpack the members that we read, and only those, into the cache; reuse what is there.

    The folder is named by the archive's checksum, so a changed archive gets a new one. Hashing
    costs a fiftieth of a second for ten megabytes: nothing is gained by remembering it.
    """
    folder = cache_dir() / 'corpora' / _checksum(archive)[:16] / corpus.folder
    try:
        _unpack_into(folder, corpus, archive)
    except DataError as error:
        error.remedy = f'delete the file, then {_manual_way(corpus)}'
        raise
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return folder


def _unpack_into(folder, corpus, archive):
    try:
        with zipfile.ZipFile(archive) as file:
            members = {info.filename.split('/')[1]: info for info in _members(corpus, file)}
            if _missing(folder, members):
                with _alone(folder):
                    sums = _read_sums(folder)
                    for member in _missing(folder, members):
                        sums[member] = _unpack_member(file, members[member], folder / member)
                    _write_sums(folder, sums)
    except (DataError, OSError):
        raise
    # A page of HTML named .zip, a cut archive, a directory of nonsense: zipfile fails in many ways.
    except Exception as error:
        raise _bad_archive(archive, error) from error


def _bad_archive(where, found, allowed=None):
    return DataError('the archive cannot be unpacked', where=str(where), found=str(found), allowed=allowed)


def _members(corpus, file):
    """The entries that we read; `DataError` if there are none, or one is not a plain file told once."""
    wanted = {f'{corpus.folder}/{member}' for member in corpus.members}
    found = [info for info in file.infolist() if info.filename in wanted]
    if not found:
        some = ', '.join(file.namelist()[:10])
        raise _bad_archive(file.filename, f'none of the files we read, but {some}', ', '.join(sorted(wanted)))
    names = [info.filename for info in found]
    for info in found:
        kind = stat.S_IFMT(info.external_attr >> 16)
        faults = {
            'twice in the archive': names.count(info.filename) > 1,
            'encrypted': info.flag_bits & 1,
            'a link or another special file': kind not in (0, stat.S_IFREG),
            'too large to be true': info.file_size > _LARGEST_MEMBER,
            'packed too tightly to be true': info.file_size > _LARGEST_RATIO * info.compress_size,
            'packed in an unknown way': info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        }
        fault = next((fault for fault, found in faults.items() if found), None)
        if fault:
            sizes = f'{info.file_size} bytes in {info.compress_size}'
            raise _bad_archive(f'{file.filename}: {info.filename}', f'{fault} ({sizes})')
    return found


def _missing(folder, members):
    """The members that are not in the folder whole: one that is there has its size and its checksum."""
    sums = _read_sums(folder)
    return [
        member
        for member, info in members.items()
        if member not in sums
        or not (folder / member).is_file()
        or (folder / member).stat().st_size != info.file_size
    ]


def _unpack_member(file, info, target):
    """Write one member, whole or not at all; returns its checksum."""
    digest = hashlib.sha256()
    with whole_file(target) as sink:
        for block in _blocks(file, info):
            digest.update(block)
            sink.write(block)
        if sink.tell() != info.file_size:
            raise zipfile.BadZipFile(f'{info.filename} is shorter than announced')
    return digest.hexdigest()


def _blocks(file, info):
    """The bytes of a member, block by block; whatever zipfile complains of is the archive's fault."""
    try:
        with file.open(info) as source:
            # zipfile compares the CRC while reading, and stops at the size that was announced.
            yield from iter(lambda: source.read(1 << 20), b'')
    except Exception as error:
        raise _bad_archive(f'{file.filename}: {info.filename}', error) from error


def _read_sums(folder):
    """{name: checksum} of what was unpacked into a folder; empty if nothing was."""
    try:
        lines = (folder.parent / _SUMS).read_text(encoding='utf-8').splitlines()
    except (OSError, ValueError):
        return {}
    return {line.rpartition('/')[2]: line[:64] for line in lines}


def _write_sums(folder, sums):
    lines = [f'{digest}  {folder.name}/{name}\n' for name, digest in sorted(sums.items())]
    with whole_file(folder.parent / _SUMS) as file:
        file.write(''.join(lines).encode())
