"""Where data comes from: the sample, folders, archives and downloads, and what is said when there is none."""

import contextlib
import hashlib
import http.server
import io
import os
import threading
import zipfile

import pytest

from bertnli.corpora import files
from bertnli.corpora.files import REGISTRY, data_dir, download_extract, where
from bertnli.errors import DataError, SettingsError
from bertnli.machine.disk import cache_dir, whole_file

SNLI, WIKI = REGISTRY['SNLI'], REGISTRY['wikitext-2']
MEMBERS = {member: f'words of {member}\n' * 50 for member in WIKI.members}


def archive_bytes(members=MEMBERS, folder=WIKI.folder):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(f'{folder}/{name}', text)
    return out.getvalue()


def kept_in(folder):
    """The names of all files in a folder and below, but for locks."""
    return [path.name for path in folder.rglob('*') if path.is_file() and path.suffix != '.lock']


@pytest.fixture
def archive(tmp_path, cache):
    folder = tmp_path / 'downloads of a reader'
    folder.mkdir()
    (folder / WIKI.archive).write_bytes(archive_bytes())
    return folder


def test_without_any_wish_the_sample_is_used():
    assert data_dir() == data_dir('sample')
    assert os.path.isfile(os.path.join(download_extract('SNLI'), 'snli_1.0_dev.txt'))


def test_the_environment_names_a_folder_and_an_argument_wins(tmp_path, monkeypatch):
    monkeypatch.setenv('BERTNLI_DATA', str(tmp_path))
    assert data_dir() == tmp_path
    assert data_dir('sample') != tmp_path


def test_the_chapters_call_works_with_the_folders_name():
    assert download_extract('wikitext-2', 'wikitext-2').endswith('wikitext-2')


def test_another_folder_name_or_corpus_is_refused():
    with pytest.raises(SettingsError, match='no such folder'):
        download_extract('SNLI', 'multinli_1.0')
    with pytest.raises(SettingsError, match='wikitext-2'):
        download_extract('wikitext-103')


def test_an_unpacked_corpus_is_found_inside_and_as_the_folder_itself(tmp_path):
    folder = tmp_path / SNLI.folder
    folder.mkdir()
    (folder / SNLI.members[0]).write_text('x')
    assert download_extract('SNLI', data_dir=tmp_path) == str(folder)
    assert download_extract('SNLI', data_dir=str(folder)) == str(folder)
    assert where('SNLI', tmp_path) == ('SNLI', 'folder', str(folder), None, None)


def test_a_local_archive_is_unpacked_into_the_cache_only(archive, cache):
    before = sorted(os.listdir(archive))
    folder = download_extract('wikitext-2', data_dir=archive)
    assert folder.startswith(str(cache))
    for member, text in MEMBERS.items():
        with open(os.path.join(folder, member), encoding='utf-8') as file:
            assert file.read() == text
    assert sorted(os.listdir(archive)) == before
    assert sorted(os.listdir(folder)) == sorted(MEMBERS)  # nothing is left over


def test_an_archive_is_unpacked_once(archive, monkeypatch):
    first = download_extract('wikitext-2', data_dir=archive)
    monkeypatch.setattr(zipfile.ZipFile, 'open', None)  # a second unpacking would fail
    assert download_extract('wikitext-2', data_dir=archive) == first


def test_a_changed_archive_is_unpacked_again_elsewhere(archive):
    first = download_extract('wikitext-2', data_dir=archive)
    (archive / WIKI.archive).write_bytes(archive_bytes(dict.fromkeys(MEMBERS, 'new')))
    second = download_extract('wikitext-2', data_dir=archive)
    assert first != second
    with open(os.path.join(second, WIKI.members[0]), encoding='utf-8') as file:
        assert file.read() == 'new'


def test_a_torn_file_in_the_cache_is_unpacked_again(archive):
    path = os.path.join(download_extract('wikitext-2', data_dir=archive), WIKI.members[0])
    with open(path, 'w', encoding='utf-8') as file:
        file.write('torn')
    download_extract('wikitext-2', data_dir=archive)
    with open(path, encoding='utf-8') as file:
        assert file.read() == MEMBERS[WIKI.members[0]]


def test_a_read_only_folder_is_enough(archive):
    os.chmod(archive, 0o555)
    try:
        assert os.listdir(download_extract('wikitext-2', data_dir=archive))
    finally:
        os.chmod(archive, 0o755)


def test_other_members_and_paths_that_leave_the_folder_are_not_unpacked(archive, cache):
    evil = {**MEMBERS, '../../../evil.txt': 'out', 'notes.txt': 'not ours'}
    (archive / WIKI.archive).write_bytes(archive_bytes(evil))
    folder = download_extract('wikitext-2', data_dir=archive)
    assert sorted(os.listdir(folder)) == sorted(MEMBERS)
    assert not list(cache.parent.rglob('evil.txt'))


@pytest.mark.parametrize('damage', ['html', 'cut', 'flipped', 'empty', 'other'])
def test_what_is_no_whole_archive_is_an_error_and_leaves_no_file(archive, cache, damage):
    data = bytearray(archive_bytes())
    if damage == 'flipped':
        data[60] ^= 0xFF  # inside the first member's compressed bytes
    data = {
        'html': b'<html>403 Forbidden</html>',
        'cut': data[: len(data) // 2],
        'flipped': data,
        'empty': b'',
        'other': archive_bytes({'a.txt': 'a'}, 'elsewhere'),
    }[damage]
    (archive / WIKI.archive).write_bytes(bytes(data))
    with pytest.raises(DataError, match=r'download https://'):
        download_extract('wikitext-2', data_dir=archive)
    assert kept_in(cache) == []


def test_a_folder_without_the_corpus_says_what_it_needs(tmp_path):
    (tmp_path / 'holiday.jpg').write_text('x')
    with pytest.raises(DataError) as caught:
        download_extract('SNLI', data_dir=tmp_path)
    for part in (str(tmp_path), 'holiday.jpg', 'snli_1.0.zip', 'https://nlp.stanford.edu', 'sample'):
        assert part in str(caught.value)


def test_a_missing_folder_or_a_file_for_a_folder_is_an_error(tmp_path):
    for path in (tmp_path / 'nowhere', __file__):
        with pytest.raises(DataError, match='not exist, or is not a folder'):
            data_dir(path)


def test_where_tells_the_checksum_and_whether_it_is_the_published_one(archive):
    place = where('wikitext-2', archive)
    assert place.sha256 == hashlib.sha256(archive_bytes()).hexdigest()
    assert (place.kind, place.official) == ('archive', False)


def test_a_cache_that_cannot_be_made_is_an_error(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('x')
    monkeypatch.setenv('BERTNLI_CACHE', str(tmp_path / 'file' / 'cache'))
    with pytest.raises(DataError, match='BERTNLI_CACHE'):
        cache_dir()


# --- downloads, from a server in this process -----------------------------------------------------


@pytest.fixture
def server(monkeypatch, cache):
    """(pages, requests): what a local server answers, and what it was asked; REGISTRY points to it."""
    pages, requests = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append((self.path, self.headers['User-Agent']))
            status, body = pages.get(self.path, (404, b''))
            self.send_response(status)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    base = f'http://127.0.0.1:{server.server_port}'
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    good = archive_bytes()
    corpus = WIKI._replace(
        urls=(f'{base}/first', f'{base}/second'),
        sha1=hashlib.sha1(good).hexdigest(),
        sha256=hashlib.sha256(good).hexdigest(),
    )
    monkeypatch.setitem(files.REGISTRY, 'wikitext-2', corpus)
    yield pages, requests
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_is_verified_unpacked_and_kept(server):
    pages, requests = server
    pages['/first'] = (200, archive_bytes())
    folder = download_extract('wikitext-2', data_dir='download')
    assert sorted(os.listdir(folder)) == sorted(MEMBERS)
    assert download_extract('wikitext-2', data_dir='download') == folder
    assert len(requests) == 1
    assert 'python' not in requests[0][1].lower()  # some hosts refuse it
    assert where('wikitext-2', 'download').official


@pytest.mark.parametrize('first', [(403, b'<xml/>'), (200, b'<html>gone</html>'), (500, b'')])
def test_the_next_address_is_asked_when_one_fails_or_serves_something_else(server, first):
    pages, requests = server
    pages.update({'/first': first, '/second': (200, archive_bytes())})
    assert os.listdir(download_extract('wikitext-2', data_dir='download'))
    assert [path for path, _ in requests] == ['/first', '/second']


def test_when_all_addresses_fail_the_manual_way_is_told_and_nothing_is_kept(server, cache):
    pages, _ = server
    pages['/first'] = (200, b'<html>gone</html>')
    with pytest.raises(DataError, match='by any means') as caught:
        download_extract('wikitext-2', data_dir='download')
    assert '/first' in str(caught.value)
    assert not list(cache.rglob('*.zip'))


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    with whole_file(tmp_path / 'new' / 'a') as file:
        file.write(b'old')
    with contextlib.suppress(KeyError), whole_file(tmp_path / 'new' / 'a') as file:
        file.write(b'half of the n')
        raise KeyError
    assert [(path.name, path.read_bytes()) for path in (tmp_path / 'new').iterdir()] == [('a', b'old')]


def test_the_registry_holds_the_chapters_checksums():
    assert WIKI.sha1 == '3c914d17d80b1459be871a5039ac23e752a53cbe'
    assert SNLI.sha1 == '9fcde07509c7e87ec61c640c1b2753d9041758e4'
