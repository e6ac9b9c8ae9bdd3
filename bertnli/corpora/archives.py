"""Unpack what we read of a published archive, and believe nothing that it says."""

import hashlib
import stat
import zipfile

from ..errors import DataError
from ..machine.disk import whole_file
from .folder import _alone, _cannot_write, _checksum, _manual_way, cache_dir

_LARGEST_MEMBER = 2**30  # bytes; the largest file we read has half a gigabyte
_LARGEST_RATIO = 100  # a byte of the archive becomes so many; of the corpora's text, fewer than ten
_SUMS = 'SHA256SUMS'  # beside the folder that was unpacked, as the tool sha256sum reads it


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
