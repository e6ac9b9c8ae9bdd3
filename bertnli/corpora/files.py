"""Where data comes from: the embedded sample, a folder of yours, or a verified download.

This file finds (and, if asked to, fetches and unpacks) the two corpora of the chapter and answers
with the path of a folder. It does not read what is in the files: that is text.py's work. Whatever
the library writes, it writes through `whole_file`. An archive is never believed: of its members only those
that we read are unpacked, under names of ours, one by one, and into one place whatever it says.
"""

import os
from pathlib import Path
from typing import NamedTuple, Optional

from ..errors import DataError, SettingsError
from .archives import _read_sums, _unpack
from .downloads import download
from .folder import _alone, _cannot_write, _checksum, _manual_way, cache_dir


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
    here = Path(__file__).resolve().parents[1]
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
