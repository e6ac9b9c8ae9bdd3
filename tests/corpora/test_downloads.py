"""Downloads from a real server that does everything a bad network does, and archives that mean harm."""

import gzip
import hashlib
import http.server
import io
import json
import os
import random
import stat
import subprocess
import sys
import tarfile
import threading
import time
import warnings
import zipfile
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

import psutil
import pytest
from click.testing import CliRunner

from bertnli import DataError, SettingsError, download_extract
from bertnli.app.cli import main
from bertnli.corpora import downloads, files

WIKI = files.REGISTRY['wikitext-2']
# Numbers that deflate cannot pack well, so that an archive has enough bytes to be cut.
TEXTS = {m: ''.join(f' {n * n % 9973} {m} . a b\n' for n in range(9000)) for m in WIKI.members}


def archive(texts=TEXTS, folder='wikitext-2/'):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as file:
        for name, text in texts.items():
            file.writestr(zipfile.ZipInfo(folder + name, (2020, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return out.getvalue()


GOOD = archive()
SHA256 = hashlib.sha256(GOOD).hexdigest()


# --- the server -----------------------------------------------------------------------------------


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers `/NAME` by the function of that name below, and notes what was asked."""

    asked: ClassVar = []

    def do_GET(self):
        name, wanted = unquote(self.path).rpartition('/')[2], self.headers.get('Range')
        self.asked.append((name, wanted))
        self.start = int(wanted[6:-1]) if wanted else 0
        try:
            ANSWERS.get(name, missing)(self)
        except OSError:  # the client has hung up
            self.close_connection = True

    def head(self, status, **headers):
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header.replace('_', '-'), str(value))
        self.end_headers()

    def say(self, status, body, **headers):
        self.head(status, Content_Length=len(body), **headers)
        self.wfile.write(body)

    def cut(self):
        self.wfile.flush()
        self.connection.shutdown(2)
        self.close_connection = True

    def log_message(self, *_):
        pass


def missing(answer):
    answer.say(404, b'')


def good(answer, body=GOOD):
    """The file, or the part of it that was asked for."""
    if answer.start >= len(body):
        answer.say(416, b'')
    elif answer.start:
        where = f'bytes {answer.start}-{len(body) - 1}/{len(body)}'
        answer.say(206, body[answer.start :], Content_Range=where)
    else:
        answer.say(200, body)


def drip(answer):
    answer.head(200, Content_Length=len(GOOD))
    for place in range(len(GOOD)):
        answer.wfile.write(GOOD[place : place + 1])
        answer.wfile.flush()
        time.sleep(0.02)


def endless(answer):
    answer.head(200)
    while True:
        answer.wfile.write(bytes(1 << 16))


def cut(answer, at=0.4):
    """A share of the file from the place asked for, then nothing: three attempts have it all."""
    body = GOOD[answer.start :]
    where = {'Content_Range': f'bytes {answer.start}-{len(GOOD) - 1}/{len(GOOD)}'} if answer.start else {}
    answer.head(206 if answer.start else 200, Content_Length=len(body), **where)
    answer.wfile.write(body[: int(len(GOOD) * at)])
    answer.cut()


def cut_once(answer):
    """Cut when asked for the whole, and the rest when asked for the rest."""
    (good if answer.start else cut)(answer)


def hurdle(answer):
    """Busy at the first two requests."""
    busy = [name for name, _ in answer.asked].count('hurdle') < 3
    answer.say(503, b'later') if busy else good(answer)


def wrong_rest(answer):
    """The rest of another file, under right headers; the whole file when asked for the whole."""
    good(answer, b'x' * len(GOOD)) if answer.start else good(answer)


ANSWERS = {
    'good': good,
    'forbidden': lambda a: a.say(403, b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
    'broken': lambda a: a.say(500, b'oh'),
    'hurdle': hurdle,
    'moved': lambda a: a.say(302, b'', Location='/good'),
    'moved to nowhere': lambda a: a.say(301, b'', Location='/nowhere'),
    'circle': lambda a: a.say(302, b'', Location='/circle'),
    'drip': drip,
    'silent': lambda a: time.sleep(2),
    'endless': endless,
    'too short': lambda a: a.say(200, GOOD[:-1]),
    'too long': lambda a: a.say(200, GOOD + b'x'),
    'announces more': lambda a: (a.head(200, Content_Length=len(GOOD) + 9), a.wfile.write(GOOD), a.cut()),
    'cut': cut,
    'cut early': lambda a: cut(a, 0.1),
    'cut_once': cut_once,
    'other bytes': lambda a: a.say(200, bytes(len(GOOD))),
    'page': lambda a: a.say(200, b'<html>log in first</html>', Content_Type='text/html'),
    'plain page': lambda a: a.say(200, b'log in first'),
    'empty': lambda a: a.say(200, b''),
    'no http': lambda a: (a.wfile.write(b'\0\1\2 nonsense\r\n\r\n'), a.cut()),
    'hangs up': lambda a: a.cut(),
    'gzipped': lambda a: a.say(200, gzip.compress(GOOD), Content_Encoding='gzip'),
    'torn gzip': lambda a: a.say(200, gzip.compress(GOOD)[:-500], Content_Encoding='gzip'),
    'no gzip': lambda a: a.say(200, GOOD, Content_Encoding='gzip'),
    'gzipped twice': lambda a: a.say(200, gzip.compress(GOOD)),
    'wrong_rest': wrong_rest,
    'another part': lambda a: a.say(206, GOOD[5:], Content_Range=f'bytes 5-{len(GOOD) - 1}/{len(GOOD)}'),
    'unasked part': lambda a: a.say(206, GOOD[:50], Content_Range=f'bytes 0-49/{len(GOOD)}'),
    'past the end': lambda a: a.say(416, b''),
}
SERVES = {'good', 'announces more', 'cut', 'hurdle', 'moved', 'cut_once', 'gzipped', 'wrong_rest'}


@pytest.fixture(scope='module')
def address():
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def corpus(address, cache, monkeypatch):
    """A function that makes the corpus come from some of the answers; patience is short."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(downloads, '_PAUSES', (0, 0.01, 0.02))
    monkeypatch.setattr(downloads, '_TIMEOUTS', (1, 0.3))
    monkeypatch.setattr(downloads, '_WINDOW', 0.3)
    monkeypatch.setattr(downloads, '_LARGEST', 2**21)
    Answer.asked.clear()

    def come_from(*names, sha256=SHA256):
        urls = tuple(f'{address}/{name}' for name in names)
        monkeypatch.setitem(files.REGISTRY, 'wikitext-2', WIKI._replace(urls=urls, sha256=sha256))

    return come_from


def assert_right(folder):
    for member, text in TEXTS.items():
        with open(os.path.join(folder, member), encoding='utf-8') as file:
            assert file.read() == text


def names_in(folder):
    return sorted(path.name for path in folder.rglob('*') if path.is_file() and path.suffix != '.lock')


# --- every fault, alone and before a good address -------------------------------------------------


@pytest.mark.parametrize('name', ANSWERS)
def test_no_answer_makes_a_bad_file_stay(corpus, cache, name):
    corpus(name)
    if name in SERVES:
        assert_right(download_extract('wikitext-2', data_dir='download'))
        return
    with pytest.raises(DataError, match='could not be downloaded') as caught:
        download_extract('wikitext-2', data_dir='download')
    assert f'/{name}: ' in caught.value.found
    assert 'by any means' in caught.value.remedy
    assert WIKI.archive not in names_in(cache)


@pytest.mark.parametrize('name', ANSWERS)
def test_behind_a_bad_address_stands_a_good_one(corpus, cache, name):
    corpus(name, 'good')
    assert_right(download_extract('wikitext-2', data_dir='download'))
    assert names_in(cache) == sorted([*WIKI.members, 'SHA256SUMS', WIKI.archive])


def test_when_all_are_dead_each_is_named_with_its_answer(corpus):
    corpus('forbidden', 'broken', 'page', 'nowhere', 'cut early')
    with pytest.raises(DataError) as caught:
        download_extract('wikitext-2', data_dir='download')
    for part in ('403', '500', 'HTML page', '404', 'forbidden', 'nowhere'):
        assert part in caught.value.found
    asked = [name for name, _ in Answer.asked]
    # What cannot become better is asked once, what may is asked in each round.
    assert (asked.count('forbidden'), asked.count('page'), asked.count('broken')) == (1, 1, 3)


def test_without_any_network_the_manual_way_is_told(corpus, monkeypatch):
    corpus()
    dead = WIKI._replace(urls=('http://127.0.0.1:9/a.zip', 'http://no-such-host.invalid/a.zip'))
    monkeypatch.setitem(files.REGISTRY, 'wikitext-2', dead)
    with pytest.raises(DataError, match='by any means') as caught:
        download_extract('wikitext-2', data_dir='download')
    assert 'Connection' in caught.value.found


# --- going on -------------------------------------------------------------------------------------


def test_a_cut_file_is_continued_by_the_next_attempt_address_and_process(corpus, address):
    corpus('cut early', 'cut early')
    with pytest.raises(DataError):
        download_extract('wikitext-2', data_dir='download')
    tenth = len(GOOD) // 10
    wanted = [wanted for _, wanted in Answer.asked]
    assert wanted == [None, *(f'bytes={n * tenth}-' for n in range(1, 6))]
    corpus('good')
    assert_right(download_extract('wikitext-2', data_dir='download'))
    assert Answer.asked[-1] == ('good', f'bytes={6 * tenth}-')


def test_a_continued_file_of_other_bytes_is_begun_anew(corpus):
    corpus('cut early')
    with pytest.raises(DataError):
        download_extract('wikitext-2', data_dir='download')
    corpus('wrong_rest')
    assert_right(download_extract('wikitext-2', data_dir='download'))
    assert [wanted for _, wanted in Answer.asked[-2:]] == [f'bytes={len(GOOD) // 10 * 3}-', None]


def test_a_proxy_of_the_environment_is_used(corpus, address, monkeypatch):
    corpus()
    elsewhere = WIKI._replace(urls=('http://no-such-host.invalid/good',), sha256=SHA256)
    monkeypatch.setitem(files.REGISTRY, 'wikitext-2', elsewhere)
    monkeypatch.setenv('http_proxy', address)
    assert_right(download_extract('wikitext-2', data_dir='download'))


def test_a_teachers_mirror_is_asked_first(corpus, address, monkeypatch):
    corpus('forbidden')
    monkeypatch.setenv('BERTNLI_MIRROR', f'{address}/')
    monkeypatch.setitem(ANSWERS, WIKI.archive, good)
    assert_right(download_extract('wikitext-2', data_dir='download'))
    assert [name for name, _ in Answer.asked] == [WIKI.archive]


# --- many processes, one cache --------------------------------------------------------------------

# Forks so many processes that all begin at once; they share nothing but the cache folder.
CLASS = """
import json, os, sys
import filelock, platformdirs, requests, urllib3
from bertnli.corpora import files
urls, sha256, number = json.loads(sys.argv[1])
files.REGISTRY['wikitext-2'] = files.REGISTRY['wikitext-2']._replace(urls=tuple(urls), sha256=sha256)
begin, go = os.pipe()
pids = []
for _ in range(number):
    pid = os.fork()
    if not pid:
        os.close(go)
        os.read(begin, 1)
        status = 1
        try:
            folder = files.download_extract('wikitext-2', data_dir='download')
            # Each reads what it was promised.
            sizes = [os.path.getsize(os.path.join(folder, m)) for m in files.REGISTRY['wikitext-2'].members]
            status = 0 if min(sizes) > 100000 else 2
        finally:
            os._exit(status)
    pids.append(pid)
os.close(go)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))
"""


def start_class(urls, number, cache):
    setting = {**os.environ, 'BERTNLI_CACHE': str(cache), 'no_proxy': '127.0.0.1'}
    argument = json.dumps([urls, SHA256, number])
    return subprocess.Popen([sys.executable, '-c', CLASS, argument], env=setting, stderr=subprocess.PIPE)


@pytest.mark.parametrize('rounds', [2, pytest.param(10, marks=pytest.mark.slow)])
def test_thirty_processes_on_an_empty_cache_download_once(address, tmp_path, rounds):
    for number in range(rounds):
        Answer.asked.clear()
        cache = tmp_path / str(number)
        work = start_class([f'{address}/good'], 30, cache)
        assert work.communicate(timeout=120) is not None
        assert work.returncode == 0
        assert Answer.asked == [('good', None)]
        assert names_in(cache) == sorted([*WIKI.members, 'SHA256SUMS', WIKI.archive])


def test_where_a_downloading_process_is_killed_the_next_one_goes_on(address, tmp_path):
    Answer.asked.clear()
    first = start_class([f'{address}/drip'], 1, tmp_path)
    part = tmp_path / 'downloads' / f'.{WIKI.archive}.part'
    while first.poll() is None and not (part.exists() and part.stat().st_size):
        time.sleep(0.05)
    second = start_class([f'{address}/good'], 1, tmp_path)
    while b'waiting' not in second.stderr.readline():  # for the first one's lock
        assert second.poll() is None
    for child in psutil.Process(first.pid).children():
        child.kill()
    first.communicate(timeout=60)
    second.communicate(timeout=60)
    assert (first.returncode != 0, second.returncode) == (True, 0)
    (_, nothing), (name, wanted) = Answer.asked
    assert (nothing, name) == (None, 'good')
    assert wanted.startswith('bytes=')


# --- hostile archives -----------------------------------------------------------------------------


def entry(name, text=b'', mode=0o100644, **fields):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = fields.pop('method', zipfile.ZIP_DEFLATED)
    return info, text


def packed(*entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as file:
        for info, text in entries:
            file.writestr(info, text)
    return out.getvalue()


def altered(content, old, new, count=-1):
    assert old in content
    return content.replace(old, new, count)


TRAIN = 'wikitext-2/wiki.train.tokens'
PLAIN = entry(TRAIN, b' a . b \n' * 9)
BYSTANDERS = {  # beside a good member they are not even looked at
    'a path upwards': entry('../../../evil', b'evil'),
    'a path upwards inside': entry('wikitext-2/../../../evil', b'evil'),
    'an absolute path': entry('/tmp/evil', b'evil'),
    'a path of Windows': entry('C:\\evil', b'evil'),
    'a link': entry('wikitext-2/link', b'/etc', stat.S_IFLNK | 0o777),
    'a bomb': entry('bomb', bytes(10**7)),
    'a file of nobody': entry('evil', b'evil', 0o106755),
}
REFUSED = {
    'a link in the place of a file': packed(entry(TRAIN, b'/etc/passwd', stat.S_IFLNK | 0o777)),
    'a device': packed(entry(TRAIN, b'', stat.S_IFBLK | 0o666)),
    'a bomb': packed(entry(TRAIN, bytes(10**7))),
    'an unknown method': packed(entry(TRAIN, b'words ' * 99, method=zipfile.ZIP_LZMA)),
    'a size that lies': altered(packed(PLAIN), (72).to_bytes(4, 'little'), (70).to_bytes(4, 'little')),
    'a size beyond belief': altered(packed(PLAIN), (72).to_bytes(4, 'little'), (2**31).to_bytes(4, 'little')),
    'encrypted': altered(packed(PLAIN), b'PK\1\2\x14\x03\x14\0\0', b'PK\1\2\x14\x03\x14\0\1'),
    'a place beyond the end': altered(packed(PLAIN), b'PK\5\6', b'PK\5\7'),
}


def twice():
    with pytest.warns(UserWarning, match='Duplicate name'):
        return packed(PLAIN, entry(TRAIN, b'other words'))


def hidden_twice():
    """The same name for zipfile, which ends names at a zero byte."""
    return altered(packed(PLAIN, entry(TRAIN + 'Xx', b'other words')), b'tokensXx', b'tokens\0x')


def unpack(folder, content):
    folder.mkdir(exist_ok=True)
    (folder / WIKI.archive).write_bytes(content)
    return download_extract('wikitext-2', data_dir=folder)


@pytest.mark.parametrize('name', BYSTANDERS)
def test_nothing_but_our_members_leaves_an_archive(tmp_path, cache, name):
    folder = unpack(tmp_path / 'data', packed(BYSTANDERS[name], PLAIN))
    assert os.listdir(folder) == ['wiki.train.tokens']
    assert names_in(tmp_path) == ['SHA256SUMS', 'wiki.train.tokens', WIKI.archive]
    assert not os.path.exists('/tmp/evil')


@pytest.mark.parametrize('name', [*REFUSED, 'twice', 'hidden twice'])
def test_a_hostile_member_is_refused_and_nothing_is_unpacked(tmp_path, cache, name):
    makers = {'twice': twice, 'hidden twice': hidden_twice}
    content = makers[name]() if name in makers else REFUSED[name]
    with pytest.raises(DataError, match='cannot be unpacked'):
        unpack(tmp_path / 'data', content)
    assert names_in(tmp_path) == [WIKI.archive]


@pytest.mark.parametrize('count', [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_whatever_bytes_of_an_archive_change_it_is_unpacked_rightly_or_refused(tmp_path, cache, count):
    content, rng = packed(PLAIN), random.Random(count)
    for _ in range(count):
        changed = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 5))):
            changed[rng.randrange(len(changed))] = rng.choice((0, 1, 255, rng.randrange(256)))
        try:
            folder = unpack(tmp_path / 'data', bytes(changed))
        except DataError:
            continue
        with open(os.path.join(folder, 'wiki.train.tokens'), 'rb') as file:
            assert file.read() == PLAIN[1]


# --- d2l's hub ------------------------------------------------------------------------------------


def packed_as(suffix, files, *members):
    """An archive of such a form with {name: bytes}, and for a tar more `TarInfo`s before them."""
    out = io.BytesIO()
    if suffix == 'zip':
        with zipfile.ZipFile(out, 'w') as file:
            for name, content in files.items():
                file.writestr(name, content)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode='w:gz' if suffix == 'tar.gz' else 'w') as file:
        for member in members:
            file.addfile(member)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def hub(corpus, address, monkeypatch):
    """A function that registers an archive in d2l's hub, as readers do, and serves it."""
    from bertnli.runtime import d2l

    def register(name, archive, content, answer=good, sha1=None):
        monkeypatch.setitem(ANSWERS, archive, lambda a: answer(a, content))
        entry = (f'{address}/{archive}', sha1 or hashlib.sha1(content).hexdigest())
        monkeypatch.setitem(d2l.DATA_HUB, name, entry)

    return register


@pytest.mark.parametrize(
    ('name', 'archive', 'inside', 'folder'),
    [
        ('ptb', 'ptb.zip', 'ptb', None),
        ('glove.6b.50d', 'glove.6B.50d.zip', 'glove.6B.50d', None),
        ('aclImdb', 'aclImdb_v1.tar.gz', 'aclImdb', 'aclImdb'),
        ('aclImdb', 'aclImdb_v1.tar.gz', 'aclImdb', None),  # d2l's answer has nothing in it
        ('voc2012', 'VOCtrainval_11-May-2012.tar', 'VOCdevkit/VOC2012', 'VOCdevkit/VOC2012'),
        ("a reader's own", 'mine.zip', 'mine', None),
    ],
)
def test_another_corpus_comes_from_d2ls_hub(hub, cache, name, archive, inside, folder):
    content = packed_as(archive.partition('.')[2].rpartition('B.50d.')[2], {f'{inside}/deep/a.txt': b'words'})
    hub(name, archive, content)
    for _ in range(2):
        path = download_extract(name, folder)
        assert path.startswith(str(cache))
        assert path.endswith(f'/{inside}')
        with open(os.path.join(path, 'deep', 'a.txt'), 'rb') as file:
            assert file.read() == b'words'
    assert Answer.asked == [(archive, None)]
    assert names_in(cache) == sorted([archive, 'a.txt'])


def test_the_books_own_models_need_no_cell_before(hub, address, monkeypatch):
    content = packed_as('zip', {'bert.small/vocab.json': b'[]', 'bert.small/pretrained.params': b''})
    hub('x', 'bert.small.zip', content)
    monkeypatch.setattr('bertnli.runtime.d2l.DATA_URL', f'{address}/')
    monkeypatch.setitem(files._BERT, 'bert.small', hashlib.sha1(content).hexdigest())
    assert sorted(os.listdir(download_extract('bert.small'))) == ['pretrained.params', 'vocab.json']


def test_an_archive_of_many_folders_is_answered_whole(hub):
    hub('x', 'x.zip', packed_as('zip', {'train/a': b'', 'test/a': b''}))
    assert sorted(os.listdir(download_extract('x'))) == ['test', 'train']
    assert os.listdir(download_extract('x', 'train')) == ['a']
    with pytest.raises(SettingsError, match='no such folder') as caught:
        download_extract('x', 'dev')
    assert caught.value.allowed == 'test, train'


def test_another_corpus_is_resumed_where_it_was_cut(hub):
    def cut(answer, content):
        answer.head(200, Content_Length=len(content))
        answer.wfile.write(content[:100])
        answer.cut()

    content = packed_as('zip', {'x/a': b'words'})
    hub('x', 'x.zip', content, lambda a, body: (good if a.start else cut)(a, body))
    assert os.listdir(download_extract('x')) == ['a']
    assert Answer.asked == [('x.zip', None), ('x.zip', 'bytes=100-')]


def test_another_corpus_is_larger_than_ours_may_be(hub, monkeypatch):
    monkeypatch.setattr(downloads, '_LARGEST', 100)
    hub('x', 'x.zip', packed_as('zip', {'x/a': bytes(1000)}))
    assert os.listdir(download_extract('x')) == ['a']


def test_a_checksum_of_the_hub_that_is_wrong_is_told(hub, cache):
    content = packed_as('zip', {'x/a': b'words'})
    hub('x', 'x.zip', content, sha1='0' * 40)
    with pytest.raises(DataError, match='checksum mismatch') as caught:
        download_extract('x')
    assert hashlib.sha1(content).hexdigest() in caught.value.found
    assert names_in(cache) == []


def test_what_is_no_archive_behind_a_right_checksum_is_an_error(hub, cache):
    for name in ('x.zip', 'x.tar', 'x.tar.gz'):
        hub('x', name, b'<html>' * 99)
        with pytest.raises(DataError, match='cannot be unpacked'):
            download_extract('x')
        assert names_in(cache / 'corpora') == []


def test_an_archive_in_a_folder_is_taken_if_its_checksum_is_right(hub, tmp_path):
    content = packed_as('zip', {'x/a': b'words'})
    hub('x', 'x.zip', content)
    (tmp_path / 'x.zip').write_bytes(b'another')
    assert os.listdir(download_extract('x', data_dir=tmp_path)) == ['a']
    assert Answer.asked == [('x.zip', None)]
    assert (tmp_path / 'x.zip').read_bytes() == b'another'
    content = packed_as('zip', {'x/b': b'words'})
    hub('x', 'x.zip', content)
    (tmp_path / 'x.zip').write_bytes(content)
    assert os.listdir(download_extract('x', data_dir=tmp_path)) == ['b']
    assert len(Answer.asked) == 1


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, str(target)
    return info


@pytest.mark.parametrize('suffix', ['zip', 'tar', 'tar.gz'])
@pytest.mark.parametrize('filtered', [True, False])
def test_nothing_of_the_hub_leaves_the_folder(hub, cache, tmp_path, suffix, filtered, monkeypatch):
    if not filtered:  # as in Pythons before 3.11.4
        monkeypatch.delattr(tarfile, 'data_filter', raising=False)
        monkeypatch.setattr(tarfile.TarFile, 'extraction_filter', None, raising=False)
        warnings.simplefilter('ignore', DeprecationWarning)
    outside = tmp_path / 'outside'
    outside.mkdir()
    (outside / 'kept').write_text('kept')
    evil = {
        'x/a': b'good',
        '../evil': b'',
        'x/../../../../evil': b'',
        f'{outside}/evil': b'',
        'x/out/evil': b'',
    }
    links = [
        link('x/out', outside),
        link('x/up', '../../..'),
        link('x/kept', outside / 'kept', tarfile.LNKTYPE),
        link('x/device', '', tarfile.CHRTYPE),
    ]
    hub('x', f'x.{suffix}', packed_as(suffix, evil, *links))
    folder = download_extract('x', 'x')
    assert 'a' in os.listdir(folder)
    assert os.listdir(outside) == ['kept']
    unpacked = Path(folder).parent
    everything = [path for path in tmp_path.rglob('*') if path.name in ('evil', 'up', 'kept', 'device')]
    assert all(path == outside / 'kept' or unpacked in path.resolve().parents for path in everything)
    assert not any(path.is_symlink() for path in unpacked.rglob('*'))


def test_an_unknown_corpus_names_the_nearest_ones():
    for wrong, near in [('aclimdb', 'aclImdb'), ('glove.6b.50', 'glove.6b.50d'), ('snli', 'SNLI')]:
        with pytest.raises(SettingsError, match='unknown corpus') as caught:
            download_extract(wrong)
        assert near in caught.value.allowed.split(', ')
    with pytest.raises(SettingsError, match='DATA_HUB') as caught:
        download_extract('nothing like it')
    assert {'SNLI', 'ptb', 'bert.base'} <= set(caught.value.allowed.split(', '))


@pytest.mark.parametrize(
    'entry',
    ['http://a/x.zip', ('http://a/x.zip',), ('http://a/x.zip', None), ('http://a/x.zip', 'abc'),
     ('http://a/x.dat', '0' * 40), ('http://a/..', '0' * 40), ('ftp://a/x.zip', '0' * 40), None],
)  # fmt: skip
def test_an_entry_of_the_hub_that_cannot_be_used_is_told(entry, monkeypatch):
    from bertnli.runtime import d2l

    monkeypatch.setitem(d2l.DATA_HUB, 'x', entry)
    with pytest.raises(SettingsError, match='invalid entry'):
        download_extract('x')


# --- the command ----------------------------------------------------------------------------------


def command(*args):
    result = CliRunner().invoke(main, ['data', *map(str, args)])
    return result.exit_code, result.output


def test_the_command_fetches_verifies_and_tells_where(corpus, cache, monkeypatch):
    corpus('good')
    monkeypatch.setattr(files, 'REGISTRY', {'wikitext-2': files.REGISTRY['wikitext-2']})
    monkeypatch.setattr('bertnli.REGISTRY', files.REGISTRY)
    code, said = command('where', '--data', 'download')
    assert (code, Answer.asked) == (2, [])
    assert 'bertnli data fetch' in said
    code, said = command('fetch')
    assert code == 0
    folder = said.split(': ')[-1].strip()
    assert_right(folder)
    code, said = command('where', '--data', 'download')
    assert code == 0
    assert SHA256 in said
    assert 'as published' in said
    code, said = command('--data', 'download', 'verify')
    assert code == 0
    assert said.count('not as published') == 3  # the members' own checksums are those of the real corpus
    with open(os.path.join(folder, 'wiki.test.tokens'), 'r+b') as file:
        file.write(b'!')
    code, said = command('verify', '--data', 'download')
    assert code == 2
    assert 'wiki.test.tokens' in said


def test_an_archive_of_ones_own_is_taken_and_its_checksum_told(tmp_path, cache):
    unpack(tmp_path / 'data', GOOD)
    place = files.where('wikitext-2', tmp_path / 'data')
    assert (place.sha256, place.official) == (SHA256, False)
    rows = files.verify('wikitext-2', tmp_path / 'data')
    assert [(row.sha256, row.official) for row in rows[:1]] == [(SHA256, False)]
    assert len(rows) == 4
    one = hashlib.sha256(TEXTS['wiki.test.tokens'].encode()).hexdigest()
    assert one in [row.sha256 for row in rows]


def test_a_cache_that_cannot_be_made_is_told(tmp_path, cache, monkeypatch):
    unpack(tmp_path / 'data', GOOD)
    monkeypatch.setenv('BERTNLI_CACHE', '/dev/full')
    with pytest.raises(DataError, match='BERTNLI_CACHE'):
        download_extract('wikitext-2', data_dir=tmp_path / 'data')
