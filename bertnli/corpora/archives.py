"""Unpack an archive into the cache: of a reader's own, only the members that we read, if not suspicious."""

import contextlib
import errno
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path

from ..errors import DataError
from ..machine.disk import cache_dir, cannot_cache, checksum, once, whole_file, write_bytes

_LARGEST_MEMBER = 2**30  # bytes; the largest file we read has half a gigabyte
_LARGEST_RATIO = 100  # a byte of the archive becomes so many; of the corpora's text, fewer than ten
_SUMS = 'SHA256SUMS'  # beside the folder that was unpacked, as the tool sha256sum reads it


def unpack(corpus, archive):
    """Unpack the members that we read, and only those; returns their folder."""
    folder = cache_dir() / 'corpora' / checksum(archive)[:16] / corpus.folder
    with _as_data_errors(corpus, archive, folder), zipfile.ZipFile(archive) as file:
        members = {folder / info.filename.split('/')[1]: info for info in _members(corpus, file)}

        def is_whole():
            right = (at.is_file() and at.stat().st_size == info.file_size for at, info in members.items())
            return (folder.parent / _SUMS).is_file() and all(right)

        def work():
            for at, info in members.items():
                with file.open(info) as source, whole_file(at) as sink:
                    # zipfile compares the CRC while reading, and stops at the size that was announced.
                    shutil.copyfileobj(source, sink, 1 << 20)
                    if sink.tell() != info.file_size:
                        raise zipfile.BadZipFile(f'{info.filename} is shorter than announced')
            sums = [f'{checksum(at)}  {folder.name}/{at.name}\n' for at in members]
            write_bytes(folder.parent / _SUMS, ''.join(sums).encode())

        once(folder, is_whole, work)
    return folder


def unpack_all(corpus, archive):
    """Unpack a whole archive (.zip, .tar, .tar.gz) of known checksum; returns the folder that it is in."""
    folder = cache_dir() / 'corpora' / corpus.digest[:16]

    def work():
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f'.{folder.name}-') as aside:
            whole = Path(aside, 'whole')
            whole.mkdir()
            if archive.suffix == '.zip':
                with zipfile.ZipFile(archive) as file:
                    file.extractall(whole)  # which drops `..` and a leading `/` from names
            else:
                with tarfile.open(archive) as file:
                    # The same here, and no links: older Pythons have no `filter` to see to it.
                    names = ((member, Path(member.name)) for member in file if member.isfile())
                    plain = [member for member, name in names if '..' not in name.parts and not name.root]
                    safe = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}
                    file.extractall(whole, plain, **safe)
            os.rename(whole, folder)

    with _as_data_errors(corpus, archive, folder):
        once(folder, folder.is_dir, work)
    return folder


@contextlib.contextmanager
def _as_data_errors(corpus, archive, folder):
    try:
        yield
    # A page of HTML named .zip, a cut archive, a directory of nonsense: they fail in many ways.
    except Exception as error:
        # subtle: zipfile may look for a place before the file's beginning, which is EINVAL.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise cannot_cache(folder, error) from error
        allowed, remedy = 'the archive as it was published', f'delete the file, then {corpus.manual_way}'
        raise DataError('the archive cannot be unpacked', archive, error, allowed, remedy) from error


def _members(corpus, file):
    """The entries that we read; `BadZipFile` if there are none, or one is suspicious."""
    wanted = {f'{corpus.folder}/{member}' for member in corpus.members}
    found = [info for info in file.infolist() if info.filename in wanted]
    if not found:
        raise zipfile.BadZipFile(f'none of {sorted(wanted)}, but {file.namelist()[:10]}')
    names = [info.filename for info in found]
    for info in found:
        faults = {
            'duplicate name': names.count(info.filename) > 1,
            'a link or another special file': stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG),
            'exceeds the size limit': info.file_size > _LARGEST_MEMBER,
            'suspicious compression ratio': info.file_size > _LARGEST_RATIO * info.compress_size,
            'unknown compression': info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        }
        for fault in filter(faults.get, faults):
            sizes = f'{info.file_size} bytes in {info.compress_size}'
            raise zipfile.BadZipFile(f'{info.filename}: {fault} ({sizes})')
    return found


def read_sums(folder):
    """{name: checksum} of what was unpacked into a folder."""
    lines = (folder.parent / _SUMS).read_text(encoding='utf-8', errors='replace').splitlines()
    return {line.rpartition('/')[2]: line[:64] for line in lines}
