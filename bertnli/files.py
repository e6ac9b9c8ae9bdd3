"""Where data comes from: the embedded sample, a folder of yours, or a verified download.

This file finds (and, if asked to, fetches and unpacks) the two corpora of the chapter and answers
with the path of a folder. It does not read what is in the files: that is text.py's work. Whatever
the library writes, it writes through `whole_file`.
"""

import contextlib
import hashlib
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple, Optional

import lazy_loader as lazy

from .errors import DataError, SettingsError

# Both are needed only when an archive is unpacked or downloaded.
platformdirs = lazy.load('platformdirs')
pooch = lazy.load('pooch')

__all__ = ['REGISTRY', 'cache_dir', 'data_dir', 'download_extract', 'where', 'whole_file']

_LARGEST_MEMBER = 2**31  # bytes; the largest file we read has half a gigabyte
_TIMEOUTS = (10, 60)  # seconds to connect, seconds of silence while reading


class Corpus(NamedTuple):
    """One published archive: what it is called, what we read of it, where it is, what it weighs."""

    archive: str
    folder: str
    members: tuple
    urls: tuple
    sha1: str
    sha256: str


# Every address serves the same bytes, and the checksum decides: mirrors need no trust.
REGISTRY = {
    'wikitext-2': Corpus(
        archive='wikitext-2-v1.zip',
        folder='wikitext-2',
        members=('wiki.train.tokens', 'wiki.valid.tokens', 'wiki.test.tokens'),
        urls=(
            'https://wikitext.smerity.com/wikitext-2-v1.zip',  # kept by the corpus' first author
            'https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/'
            'gluon/dataset/wikitext-2/wikitext-2-v1.zip',  # MXNet's own copy
            # the chapter's address, dead since 2024
            'https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip',
        ),
        sha1='3c914d17d80b1459be871a5039ac23e752a53cbe',
        sha256='92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c',
    ),
    'SNLI': Corpus(
        archive='snli_1.0.zip',
        folder='snli_1.0',
        members=('snli_1.0_train.txt', 'snli_1.0_dev.txt', 'snli_1.0_test.txt'),
        urls=(
            'https://nlp.stanford.edu/projects/snli/snli_1.0.zip',  # official
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
    if not path.is_dir():
        raise DataError(
            'the data folder does not exist, or is not a folder',
            where=str(path),
            found='a file' if path.exists() else 'nothing',
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
    """Tell where a corpus comes from, and whether its archive is the published one: a `Place`."""
    kind, path = _find(name, data_dir)
    if path.is_dir():
        return Place(name, kind, str(path), None, None)
    digest = _sha256(path)
    return Place(name, kind, str(path), digest, digest == _corpus(name).sha256)


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


def _find(name, source):
    """(kind, path): the unpacked folder of a corpus, or its archive, whichever the source has."""
    corpus = _corpus(name)
    root = data_dir(source)
    source = source or os.environ.get('BERTNLI_DATA') or 'sample'
    if source == 'download':
        return 'download', _fetch(corpus, root)
    kind = 'sample' if source == 'sample' else 'folder'
    for path in (root / corpus.folder, root):
        if any((path / member).is_file() for member in corpus.members):
            return kind, path
    if (root / corpus.archive).is_file():
        return 'archive', root / corpus.archive
    raise DataError(
        f'the corpus {name} is not in this folder',
        where=str(root),
        found=sorted(path.name for path in root.iterdir()),
        allowed=f'{corpus.archive}, or a folder {corpus.folder} with {", ".join(corpus.members)}',
        remedy=f"{_manual_way(corpus)}, or use data_dir='download' or 'sample'",
    )


def _manual_way(corpus):
    address = corpus.urls[0]
    return f'download {address} by any means, put it into a folder and name the folder as data_dir'


def _fetch(corpus, folder):
    """Download the archive from the first address that serves the right bytes; return its path."""
    failures = []
    for url in corpus.urls:
        # subtle: some of these hosts refuse the user agents of Python's own clients.
        agent = {'User-Agent': 'bertnli (teaching library)'}
        downloader = pooch.HTTPDownloader(progressbar=True, timeout=_TIMEOUTS, headers=agent)
        try:
            path = pooch.retrieve(
                url,
                known_hash=f'sha256:{corpus.sha256}',
                fname=corpus.archive,
                path=folder,
                downloader=downloader,
            )
        # pooch raises ValueError for wrong content; everything from requests is an OSError.
        except (OSError, ValueError) as error:
            failures.append(f'{url}: {type(error).__name__}')
        else:
            return Path(path)
    raise DataError(
        f'{corpus.archive} could not be downloaded, or what arrived was something else',
        where=str(folder),
        found='; '.join(failures),
        remedy=f"{_manual_way(corpus)}, or use data_dir='sample'",
    )


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def _unpack(corpus, archive):
    """Unpack the members that we read, and only those, into the cache; reuse what is there.

    The folder is named by the archive's checksum, so a changed archive gets a new one. Hashing
    costs a fiftieth of a second for ten megabytes: nothing is gained by remembering it.
    """
    folder = cache_dir() / 'corpora' / _sha256(archive)[:16] / corpus.folder
    try:
        with zipfile.ZipFile(archive) as file:
            present = [m for m in corpus.members if f'{corpus.folder}/{m}' in file.NameToInfo]
            if not present:
                raise DataError(
                    'the archive holds none of the files we read',
                    where=str(archive),
                    found=file.namelist()[:10],
                    allowed=', '.join(f'{corpus.folder}/{m}' for m in corpus.members),
                    remedy=_manual_way(corpus),
                )
            for member in present:
                _unpack_member(file, file.getinfo(f'{corpus.folder}/{member}'), folder / member)
    # A page of HTML named .zip, a cut download, a flipped bit, an unknown or encrypted method.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(
            'the archive cannot be unpacked',
            where=str(archive),
            found=str(error),
            remedy=f'delete the file, then {_manual_way(corpus)}',
        ) from error
    except OSError as error:
        raise DataError(
            'the archive cannot be unpacked here',
            where=str(folder),
            found=str(error),
            remedy='make room, or name another folder in the environment variable BERTNLI_CACHE',
        ) from error
    return folder


def _unpack_member(file, info, target):
    """Write one member, whole or not at all."""
    if info.file_size > _LARGEST_MEMBER:
        raise DataError(
            'a file in the archive is too large to be true',
            where=f'{file.filename}: {info.filename}',
            found=info.file_size,
            allowed=f'up to {_LARGEST_MEMBER} bytes',
            remedy='download the archive again',
        )
    if target.is_file() and target.stat().st_size == info.file_size:
        return
    with file.open(info) as source, whole_file(target) as sink:
        # zipfile compares the CRC while reading and raises BadZipFile.
        for block in iter(lambda: source.read(1 << 20), b''):
            sink.write(block)
        if sink.tell() != info.file_size:
            raise zipfile.BadZipFile(f'{info.filename} is shorter than announced')
