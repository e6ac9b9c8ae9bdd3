"""One file from the first of several addresses that serves the right bytes, over a bad network.

What has arrived stays, and the next attempt asks for the rest only; no attempt lasts for ever; nothing is at
the file's place before its checksum was right. What the file is for, files.py knows.
"""

import os
import time
from pathlib import Path

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


class _Again(Exception):
    """This attempt failed; the same address may do better the next time."""


class _Never(Exception):
    """This address has something else, or nothing; asking again is of no use."""


def download(urls, path, sha256):
    """Fetch the file with this checksum into `path`, from the first of `urls` that serves it.

    All addresses are asked in turn, and after a pause again, as long as one may still do better. Redirects
    are followed and proxies taken from the environment, as requests does. A file cut short stays beside
    `path` as `.NAME.part`, from where any address, now or in another process, goes on. Only one process may
    work at one `path`: the caller holds the lock. Raises `DataError` with each address' answer, and
    `OSError` if the disk cannot be written.
    """
    path = Path(path)
    part = path.with_name(f'.{path.name}.part')
    hopeful, answers = list(urls), {}
    for pause in _PAUSES:
        time.sleep(pause if hopeful else 0)
        for url in tuple(hopeful):
            try:
                _attempt(url, part, sha256)
            except _Never as error:
                hopeful.remove(url)
                answers[url] = str(error)
            except (_Again, requests.RequestException, urllib3.exceptions.HTTPError) as error:
                answers[url] = str(error) if isinstance(error, _Again) else type(error).__name__
            else:
                os.replace(part, path)
                return
    if not part.stat().st_size:
        part.unlink()
    raise DataError(
        f'{path.name} could not be downloaded, or what arrived was something else',
        where=str(path.parent),
        found='; '.join(f'{url}: {answer}' for url, answer in answers.items()),
    )


def _attempt(url, part, sha256):
    """Go on with the part until the file is whole and right; or raise, and leave what the next may use."""
    with open(part, 'ab') as file:
        start = file.tell()
        if start and checksum(part) == sha256:  # all had come, and then the connection broke
            return
        wanted = {**_HEADERS, 'Range': f'bytes={start}-'} if start else _HEADERS
        with requests.get(url, headers=wanted, timeout=_TIMEOUTS, stream=True) as response:
            _check_answer(response, start, file)
            _receive(response, file)
        os.fsync(file.fileno())
    if checksum(part) != sha256:
        os.truncate(part, 0)
        # The fault may be that of the bytes which were here before.
        raise (_Again if start else _Never)('another content')


def _check_answer(response, start, file):
    """Make the file end where the body of the answer begins, or raise."""
    status, headers = response.status_code, response.headers
    if status == 416:
        file.truncate(0)
        raise _Again('less than what is here already')
    if status not in (200, 206):
        raise (_Again if status in _PASSING else _Never)(f'status {status} {response.reason}')
    if 'html' in headers.get('Content-Type', '') or 'xml' in headers.get('Content-Type', ''):
        raise _Never('a page in place of a file')
    if status == 200:
        file.truncate(0)  # the server sends the whole
    elif not headers.get('Content-Range', '').startswith(f'bytes {start}-') or 'Content-Encoding' in headers:
        file.truncate(0)
        raise _Again('another part than the one asked for')


def _receive(response, file):
    """Append the body to the file. Whoever sends too much, or next to nothing for long, is not waited for."""
    size = file.seek(0, os.SEEK_END)
    length = response.headers.get('Content-Length', '')
    total = size + int(length) if length.isdecimal() else None
    mark, since = size, time.monotonic()
    with tqdm(total=total, initial=size, desc='downloading', unit='B', unit_scale=True, leave=False) as bar:
        while True:
            block = response.raw.read1(1 << 16, decode_content=True)
            if not block:
                return
            size += file.write(block)
            file.flush()
            bar.update(len(block))
            if size > _LARGEST:
                file.truncate(0)
                raise _Never(f'more than {_LARGEST} bytes')
            if time.monotonic() - since > _WINDOW:
                if size - mark < _WINDOW * _SLOWEST:
                    raise _Again('too slow')
                mark, since = size, time.monotonic()
