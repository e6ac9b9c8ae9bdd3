"""Download one file from the first of several addresses that serves the right bytes, over a bad network."""

import os
import time

import lazy_loader as lazy
from tqdm.auto import tqdm

from ..errors import DataError
from ..machine.disk import checksum

# Needed only when something is downloaded. subtle: reading its stream, urllib3 raises errors of its own.
requests = lazy.load('requests')
urllib3 = lazy.load('urllib3')
_TIMEOUTS = (10, 30)  # seconds to connect, seconds of silence
_PAUSES = (0, 1, 4)  # seconds before each round over all addresses
_WINDOW, _SLOWEST = 30, 500  # seconds in which so many bytes a second must come
_LARGEST = 2**28  # bytes; SNLI has 95 million
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses that another attempt may change
# subtle: some of these hosts refuse the user agents of Python's own clients.
_HEADERS = {'User-Agent': 'bertnli (teaching library)', 'Accept-Encoding': 'identity'}


class _Failed(Exception):
    """(why an attempt failed, whether the same address may do better the next time)"""


def download(urls, path, digest, largest=None):
    """Fetch the file with this checksum into `path`, from the first of `urls` that serves it.

    All are asked in turn, and after a pause again, as long as one may still do better. A file cut short stays
    beside `path` as `.NAME.part`, and is resumed from any address, now or in another process. The caller
    holds the lock of `path`. Raises `DataError` with each answer, and `OSError` for the disk.
    """
    part = path.with_name(f'.{path.name}.part')
    hopeful, answers = list(urls), {}
    for pause in _PAUSES:
        time.sleep(pause if hopeful else 0)
        for url in tuple(hopeful):
            try:
                _attempt(url, part, digest, largest or _LARGEST)
            except _Failed as error:
                answers[url], retry = error.args
                if not retry:
                    hopeful.remove(url)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                answers[url] = type(error).__name__
            else:
                os.replace(part, path)
                return
    if not part.stat().st_size:
        part.unlink()
    found = '; '.join(f'{url}: {answer}' for url, answer in answers.items())
    raise DataError(f'{path.name} could not be downloaded', path.parent, found)


def _attempt(url, part, digest, largest):
    """Resume the part until the file is whole and right; or raise, and leave what the next may use."""
    with open(part, 'ab') as file:
        start = file.tell()
        if start and checksum(part, digest) == digest:  # all had come, and then the connection broke
            return
        wanted = {**_HEADERS, 'Range': f'bytes={start}-'} if start else _HEADERS
        with requests.get(url, headers=wanted, timeout=_TIMEOUTS, stream=True) as response:
            _check_answer(response, start, file)
            _receive(response, file, largest)
        os.fsync(file.fileno())
    received = checksum(part, digest)
    if received != digest:
        os.truncate(part, 0)
        # The fault may be that of the bytes which were here before.
        raise _Failed(f'checksum mismatch: {received}', bool(start))


def _check_answer(response, start, file):
    """Make the file end where the body of the answer begins, or raise."""
    status, headers = response.status_code, response.headers
    if status == 416:
        file.truncate(0)
        raise _Failed('the file is shorter than the part that is here', True)
    if status not in (200, 206):
        raise _Failed(f'status {status} {response.reason}', status in _PASSING)
    if 'html' in headers.get('Content-Type', '') or 'xml' in headers.get('Content-Type', ''):
        raise _Failed('received an HTML page instead of the file', False)
    if status == 200:
        file.truncate(0)  # the server sends the whole
    elif not headers.get('Content-Range', '').startswith(f'bytes {start}-') or 'Content-Encoding' in headers:
        file.truncate(0)
        raise _Failed('unexpected range', True)


def _receive(response, file, largest):
    """Append the body to the file; give up on a server that sends too much, or next to nothing for long."""
    size = file.seek(0, os.SEEK_END)
    length = response.headers.get('Content-Length', '')
    total = size + int(length) if length.isdecimal() else None
    mark, since = size, time.monotonic()
    with tqdm(total=total, initial=size, desc='downloading', unit='B', unit_scale=True, leave=False) as bar:
        for block in iter(lambda: response.raw.read1(1 << 16, decode_content=True), b''):
            size += file.write(block)
            file.flush()
            bar.update(len(block))
            if size > largest:
                file.truncate(0)
                raise _Failed(f'exceeds the size limit of {largest} bytes', False)
            if time.monotonic() - since > _WINDOW:
                if size - mark < _WINDOW * _SLOWEST:
                    raise _Failed('too slow', True)
                mark, since = size, time.monotonic()
