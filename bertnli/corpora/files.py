"""Where data comes from: the embedded sample, a folder of yours, or a verified download."""

import collections
import difflib
import functools
import itertools
import json
import os
import re
from pathlib import Path
from typing import NamedTuple, Optional

from ..errors import DataError, SettingsError
from ..machine.disk import cache_dir, cannot_cache, checksum, once
from .archives import read_sums, unpack, unpack_all
from .downloads import download
from .pairs import NotHere, PairFiles, has_pairs


class Corpus(NamedTuple):
    """A published archive. Of one in d2l's hub, `members` is empty: all of it is unpacked."""

    archive: str
    folder: str
    members: list  # the files that we read
    urls: list
    sha1: str
    sha256: Optional[str] = None
    member_sha1: list = ()  # in the order of `members`, where somebody published them

    @property
    def digest(self):
        return self.sha256 or self.sha1

    @property
    def manual_way(self):
        way = f'download {self.urls[0]} by any means, put it into a folder and name the folder as data_dir'
        return f"{way}, or use data_dir='sample'" if self.members else way


# Every address serves the same bytes, and the checksum decides: mirrors need no trust. The chapter's address
# for WikiText-2 (research.metamind.io) and MXNet's own copies are dead since 2024; smerity.com is the corpus'
# first author. Of WikiText-2, MXNet's gluon.contrib.data.WikiText2 has the checksums of the members.
_TABLE = json.loads(Path(__file__).with_name('registry.json').read_text('utf-8'))
REGISTRY = {name: Corpus(**row) for name, row in _TABLE.items()}
# What the book's section on fine-tuning BERT adds to d2l's hub.
_BERT = {
    'bert.base': '7b3820b35da691042e5d34c0971ac3edbd80d3f4',
    'bert.small': 'a4e718a47137ccd1809c9107ab4f5edd317bae2c',
}
_LARGEST_HUB = 2**34  # bytes of a download; d2l's largest archive has seven gigabytes

# Where a corpus was found, and a file whose every byte was read. `official` is whether the checksum is the
# published one; None where none is known, as for an unpacked folder.
Place = collections.namedtuple('Place', 'name kind path sha256 official')
Checked = collections.namedtuple('Checked', 'path sha256 official')


def data_dir(source=None):
    """The folder that `source` means: None, 'sample', 'download' or a path.

    None means the environment variable `BERTNLI_DATA`, or else the embedded sample. Raises `DataError` if the
    folder does not exist.

    >>> data_dir('sample').name
    'data'
    """
    source = _source(source)
    if source == 'download':
        return cache_dir() / 'downloads'
    if source == 'sample':
        # In an installed package the sample is inside it, in the repository beside it.
        inside, beside = (parent / 'data' for parent in [*Path(__file__).resolve().parents][1:3])
        return inside if inside.is_dir() else beside
    path = Path(source).expanduser()
    if not os.path.isdir(path):
        found = 'a file' if os.path.exists(path) else 'nothing that you may read'
        allowed = "a folder with the archives or the unpacked corpora, 'sample' or 'download'"
        remedy = 'correct the path (data_dir=…, --data or the environment variable BERTNLI_DATA)'
        raise DataError('the data folder does not exist, or is not a folder', path, found, allowed, remedy)
    return path


def _source(source):
    source = source.folder if isinstance(source, PairFiles) else source
    return source or os.environ.get('BERTNLI_DATA') or 'sample'


def download_extract(name, folder=None, *, data_dir=None):
    """The path of the folder with the files of corpus `name`: 'wikitext-2', 'SNLI', or one of d2l's hub.

    `data_dir` is what the function of that name accepts: a folder that is the unpacked corpus, or holds it or
    its official archive, which is unpacked into the cache; for SNLI also a folder of your own pairs, or
    `PairFiles`. `folder`, the chapter's second argument, is the folder's name inside the archive. Archives of
    `d2l.DATA_HUB`, which takes a reader's own (url, sha1), are downloaded if `data_dir` has none. Raises
    `DataError` with the manual way if nothing is found.

    >>> download_extract('wikitext-2', 'wikitext-2', data_dir='sample').endswith('wikitext-2')
    True
    """
    if name not in REGISTRY:
        return str(_hub_folder(name, folder, data_dir))
    if name == 'SNLI' and isinstance(data_dir, PairFiles):
        if data_dir.named:
            return data_dir
        return data_dir._replace(folder=download_extract(name, folder, data_dir=data_dir.folder))
    corpus = REGISTRY[name]
    if folder not in (None, corpus.folder):
        raise SettingsError(f'no such folder in the archive of {name}', None, folder, corpus.folder)
    _, path = _find(name, data_dir)
    return str(path if path.is_dir() else unpack(corpus, path))


def _hub_folder(name, folder, source):
    """`folder` of an archive of d2l's hub, or the one that d2l would return, or all of the archive."""
    corpus = _hub_corpus(name)
    archive = data_dir(source) / corpus.archive
    if not _is_right(corpus, archive):
        archive = _fetch(corpus, cache_dir() / 'downloads')
    base = unpack_all(corpus, archive)
    # d2l takes the folder of the archive's name. In 'aclImdb_v1.tar.gz' there is none, only 'aclImdb'.
    found = sorted(os.listdir(base))
    path = base / (folder or (found[0] if len(found) == 1 else corpus.folder))
    if folder and not path.is_dir():
        raise SettingsError(f'no such folder in the archive of {name}', None, folder, ', '.join(found[:10]))
    return path if path.is_dir() else base


def _hub_corpus(name):
    from ..runtime import d2l  # lazy: MXNet, which only a corpus of another chapter needs

    bert = {known: (f'{d2l.DATA_URL}{known}.zip', sha1) for known, sha1 in _BERT.items()}
    hub = {**bert, **d2l.DATA_HUB}
    if name not in hub:
        names = {known.lower(): known for known in [*REGISTRY, *hub]}
        near = difflib.get_close_matches(str(name).lower(), names) or names
        allowed = ', '.join(names[known] for known in near)
        remedy = "check the spelling, or register your own: d2l.DATA_HUB['name'] = (url, sha1)"
        raise SettingsError('unknown corpus', None, name, allowed, remedy)
    try:
        url, sha1 = hub[name]
        archive, _ = re.fullmatch(r'https?://.+/([^/?]+\.(zip|tar|gz))', url).groups()
        if len(bytes.fromhex(sha1)) != 20:
            raise ValueError(sha1)
    except (TypeError, ValueError, AttributeError) as error:
        allowed = '(url, sha1), where the url ends in .zip, .tar or .tar.gz'
        raise SettingsError('invalid entry in d2l.DATA_HUB', None, hub[name], allowed) from error
    return Corpus(archive, os.path.splitext(archive)[0], [], [url], sha1.lower())


def _find(name, source, fetch=True):
    """(kind, path): the unpacked folder of a corpus, or its archive, whichever the source has."""
    corpus, root, source = REGISTRY[name], data_dir(source), _source(source)
    archive = root / corpus.archive
    if source == 'download':
        if not fetch and not archive.is_file():
            remedy = f'bertnli data fetch; or {corpus.manual_way}'
            raise NotHere(f'the corpus {name} has not been downloaded', root, remedy=remedy)
        return 'download', _fetch(corpus, root) if fetch else archive
    for path in (root / corpus.folder, root):
        if any(os.path.isfile(path / member) for member in corpus.members):
            return 'sample' if source == 'sample' else 'folder', path
    if os.path.isfile(archive):
        return 'archive', archive
    if name == 'SNLI' and has_pairs(root):
        return 'folder', root
    kind, found = DataError, 'a folder that you may not read'
    if os.access(root, os.R_OK):
        kind, found = NotHere, sorted(os.listdir(root))
    own = ', or train and dev as CSV, TSV or JSON' * (name == 'SNLI')
    allowed = f'{corpus.archive}, or a folder {corpus.folder} with {", ".join(corpus.members)}{own}'
    remedy = f"{corpus.manual_way} or 'download'"
    raise kind(f'the corpus {name} is not in this folder', root, found, allowed, remedy)


def _is_right(corpus, path):
    return os.path.isfile(path) and checksum(path, corpus.digest) == corpus.digest


def _fetch(corpus, folder):
    """Download the archive unless it is there. `BERTNLI_MIRROR`, a teacher's own server, is asked first."""
    path, mirror = folder / corpus.archive, os.environ.get('BERTNLI_MIRROR')
    urls = [f'{mirror.rstrip("/")}/{corpus.archive}'] if mirror else []
    largest = None if corpus.members else _LARGEST_HUB
    work = functools.partial(download, [*urls, *corpus.urls], path, corpus.digest, largest)
    try:
        once(path, functools.partial(_is_right, corpus, path), work)
    except DataError as error:
        error.remedy = corpus.manual_way
        raise
    except OSError as error:
        raise cannot_cache(folder, error) from error
    return path


def where(name, data_dir=None):
    """Where a corpus comes from: a `Place`. Downloads nothing; raises `DataError` if it is not there."""
    kind, path = _find(name, data_dir, fetch=False)
    digest = None if path.is_dir() else checksum(path)
    return Place(name, kind, str(path), digest, digest and digest == REGISTRY[name].sha256)


def verify(name, data_dir=None):
    """Read every byte of a corpus: a list of `Checked`. Raises `DataError` for a damaged archive or file."""
    place, corpus = where(name, data_dir), REGISTRY[name]
    folder, rows, sums = Path(place.path), [], {}
    if place.sha256:
        rows = [Checked(place.path, place.sha256, place.official)]
        folder = unpack(corpus, folder)
        sums = read_sums(folder)
    for member, sha1 in itertools.zip_longest(corpus.members, corpus.member_sha1):
        path = folder / member
        if not path.is_file():
            continue
        digest = checksum(path)
        if sums.get(member, digest) != digest:
            remedy = 'delete the file: it is unpacked again when it is needed'
            raise DataError('an unpacked file was changed', path, digest, remedy=remedy)
        # A published archive has published members; of another one's nothing is known.
        official = checksum(path, sha1) == sha1 if sha1 else place.official or None
        rows.append(Checked(str(path), digest, official))
    return rows
