"""Downloads against a local server that breaks off, lies, ignores ranges and changes its mind."""

import errno
import hashlib
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

import mmiformer.download as module
from mmiformer.download import DownloadError, download, human_size, locked
from tests.http_server import Server, running

REPO = Path(__file__).parents[1]
CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server():
    with running(Server(CONTENT)) as server:
        yield server


@pytest.fixture(autouse=True)
def no_delay(monkeypatch):
    monkeypatch.setattr(module, 'RETRY_DELAY', 0.0)


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir())


def test_fetches_once_and_records_the_hash(server, tmp_path):
    path = tmp_path / 'new' / 'folder' / 'file.bin'
    assert download(server.url, str(path)) == path
    assert path.read_bytes() == CONTENT
    assert leftovers(path.parent) == ['file.bin', 'file.bin.sha256']
    assert (path.parent / 'file.bin.sha256').read_text() == f'{sha256(CONTENT)}  file.bin\n'
    download(server.url, path, sha256=sha256(CONTENT).upper(), size=len(CONTENT))
    assert server.ranges == [None]  # the second call asked for nothing


def test_goes_on_within_a_call_where_the_connection_broke(server, tmp_path):
    server.break_after = [100_000, 0, 0, 100_000, 0, 0]  # six cuts, never five in a row without a new byte
    path = download(server.url, tmp_path / 'file.bin', size=len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None] + 3 * ['bytes=100000-'] + 3 * ['bytes=200000-']


@pytest.mark.parametrize('validator', [('ETag', '"1"'), ('Last-Modified', 'Tue, 01 Nov 2022 10:00:00 GMT')])
def test_a_later_call_goes_on(server, tmp_path, validator):
    server.validator = validator
    server.break_after = [120_000] + 5 * [0]
    with pytest.raises(DownloadError, match=r'120 kB are kept') as error:
        download(server.url, tmp_path / 'file.bin', attempts=3)
    assert server.url in str(error.value) and str(tmp_path / 'file.bin') in str(error.value)
    assert leftovers(tmp_path) == ['file.bin.part', 'file.bin.part.json']
    server.break_after, server.ranges = [], []
    assert download(server.url, tmp_path / 'file.bin').read_bytes() == CONTENT
    assert server.ranges == ['bytes=120000-']
    assert leftovers(tmp_path) == ['file.bin', 'file.bin.sha256']


def interrupted(server, tmp_path, **kwargs):
    """A path of which only the first 120000 bytes have arrived."""
    server.break_after = [120_000, 0]
    with pytest.raises(DownloadError):
        download(server.url, tmp_path / 'file.bin', attempts=1, **kwargs)
    server.break_after, server.ranges = [], []
    assert (tmp_path / 'file.bin.part').read_bytes() == CONTENT[:120_000]
    return tmp_path / 'file.bin'


@pytest.mark.parametrize('content', [OTHER, OTHER[:1000]], ids=['of_the_same_length', 'shorter_than_what_arrived'])
def test_starts_anew_when_the_file_has_changed(server, tmp_path, content):
    path = interrupted(server, tmp_path)
    server.content, server.validator = content, ('ETag', '"2"')
    assert download(server.url, path).read_bytes() == content
    assert server.ranges == ['bytes=120000-']


def test_starts_anew_when_the_url_is_another(server, tmp_path):
    path = interrupted(server, tmp_path)
    server.content = OTHER
    assert download(server.url + '2', path).read_bytes() == OTHER
    assert server.ranges == [None]


@pytest.mark.parametrize('validator', [None, ('ETag', 'W/"1"')])
def test_starts_anew_when_nothing_tells_whether_the_file_changed(server, tmp_path, validator):
    server.validator = validator
    path = interrupted(server, tmp_path)
    server.content = OTHER
    assert download(server.url, path).read_bytes() == OTHER
    assert server.ranges == [None]


def test_a_known_hash_serves_as_validator(server, tmp_path):
    server.validator = None
    path = interrupted(server, tmp_path, sha256=sha256(CONTENT))
    assert download(server.url, path, sha256=sha256(CONTENT)).read_bytes() == CONTENT
    assert server.ranges == ['bytes=120000-']


def test_a_known_hash_catches_a_file_mixed_of_two(server, tmp_path):
    server.validator = None
    path = interrupted(server, tmp_path, sha256=sha256(OTHER))
    server.content = OTHER
    with pytest.raises(DownloadError, match=r'SHA-256 is \w+ instead of ' + sha256(OTHER)):
        download(server.url, path, sha256=sha256(OTHER))
    assert leftovers(tmp_path) == []  # so the next call starts anew
    assert download(server.url, path, sha256=sha256(OTHER)).read_bytes() == OTHER


def test_server_that_ignores_ranges(server, tmp_path):
    path = interrupted(server, tmp_path)
    server.knows_ranges = False
    assert download(server.url, path).read_bytes() == CONTENT
    assert server.ranges == ['bytes=120000-']


def test_server_that_has_less_than_arrived(server, tmp_path):
    path = interrupted(server, tmp_path)
    server.content = OTHER[:1000]
    assert download(server.url, path).read_bytes() == OTHER[:1000]
    assert server.ranges == ['bytes=120000-', None]  # 416, then from the start


def test_stopped_between_the_last_byte_and_the_final_name(server, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', stop)
    with pytest.raises(KeyboardInterrupt):
        download(server.url, tmp_path / 'file.bin')
    assert not (tmp_path / 'file.bin').exists()
    monkeypatch.undo()
    assert download(server.url, tmp_path / 'file.bin').read_bytes() == CONTENT
    assert server.ranges == [None]


@pytest.mark.parametrize('announced', [len(CONTENT) + 1000, 10 * len(CONTENT)])
def test_server_that_announces_more_than_it_sends(server, tmp_path, announced):
    server.announced = announced
    with pytest.raises(DownloadError, match='ended at 300000 of|no such range'):
        download(server.url, tmp_path / 'file.bin')
    assert not (tmp_path / 'file.bin').exists()


def test_server_that_announces_less_than_it_has(server, tmp_path):
    server.announced = 1000
    with pytest.raises(DownloadError, match='has 1000 bytes under this URL, not the expected 300000'):
        download(server.url, tmp_path / 'file.bin', size=len(CONTENT))
    assert leftovers(tmp_path) == []


def test_not_found_is_said_at_once(server, tmp_path, capsys):
    server.statuses = [404]
    with pytest.raises(DownloadError, match='404 Not Found') as error:
        download(server.url, tmp_path / 'file.bin')
    assert server.url in str(error.value) and str(tmp_path / 'file.bin') in str(error.value)
    assert len(server.ranges) == 1
    assert leftovers(tmp_path) == []


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = [503, 429]
    assert download(server.url, tmp_path / 'file.bin').read_bytes() == CONTENT
    assert len(server.ranges) == 3


def test_no_network(tmp_path):
    with socket.socket() as unused:  # bound, but nobody listens: connections are refused
        unused.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{unused.getsockname()[1]}/file.bin'
        with pytest.raises(DownloadError, match='no connection .* 2 times in a row(.|\n)*put it at that path'):
            download(url, tmp_path / 'file.bin', attempts=2)
    assert leftovers(tmp_path) == []


def test_a_file_that_changed_on_disc_is_noticed(server, tmp_path):
    path = download(server.url, tmp_path / 'file.bin')
    path.write_bytes(OTHER)
    with pytest.raises(DownloadError, match=f'{sha256(CONTENT)} was recorded'):
        download(server.url, path)
    assert path.read_bytes() == OTHER  # the user's to delete
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match='299999 bytes instead of 300000'):
        download(server.url, path, size=len(CONTENT))


def test_the_hash_of_first_use_holds_for_later_downloads(server, tmp_path):
    path = download(server.url, tmp_path / 'file.bin')
    path.unlink()
    server.content = OTHER
    with pytest.raises(DownloadError, match=f'{sha256(CONTENT)} was recorded .*(.|\n)*delete'):
        download(server.url, path)
    assert leftovers(tmp_path) == ['file.bin.sha256']
    (tmp_path / 'file.bin.sha256').unlink()
    assert download(server.url, path).read_bytes() == OTHER


def test_a_file_put_there_by_hand_is_taken_and_recorded(tmp_path):
    path = tmp_path / 'file.bin'
    path.write_bytes(CONTENT)
    assert download('http://no-such-host.invalid/file.bin', path) == path
    assert (tmp_path / 'file.bin.sha256').read_text().split()[0] == sha256(CONTENT)


def test_full_disc(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda path: types.SimpleNamespace(free=1000))
    with pytest.raises(DownloadError, match='300 kB are still needed on that disc and 1.0 kB are free'):
        download(server.url, tmp_path / 'file.bin')
    assert leftovers(tmp_path) == []


def test_disc_that_fills_up_on_the_way(server, tmp_path, monkeypatch):
    def no_space(bar, amount):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.Progress, 'update', no_space)  # called after each write
    with pytest.raises(DownloadError, match='disc is full(.|\n)*make room'):
        download(server.url, tmp_path / 'file.bin')
    assert not (tmp_path / 'file.bin').exists()
    assert 0 < (tmp_path / 'file.bin.part').stat().st_size <= len(CONTENT)
    monkeypatch.undo()
    assert download(server.url, tmp_path / 'file.bin').read_bytes() == CONTENT


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match='must start with http'):
        download('ftp://host/file.bin', tmp_path / 'file.bin')
    with pytest.raises(DownloadError, match='is a folder'):
        download('http://host/file.bin', tmp_path)
    (tmp_path / 'file').write_text('')
    with pytest.raises(DownloadError, match='Choose a path that can be written'):
        download('http://host/file.bin', tmp_path / 'file' / 'file.bin')


def test_processes_that_want_one_file_wait_for_each_other(server, tmp_path):
    server.chunk_delay = 0.05
    context = multiprocessing.get_context('fork')
    workers = [context.Process(target=download, args=(server.url, tmp_path / 'file.bin')) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == 4 * [0]
    assert server.ranges == [None]
    assert (tmp_path / 'file.bin').read_bytes() == CONTENT
    assert leftovers(tmp_path) == ['file.bin', 'file.bin.sha256']


def test_a_lock_is_on_the_file_that_has_the_name_now(tmp_path, capsys):
    fcntl = pytest.importorskip('fcntl')
    path, seen = tmp_path / 'file', []

    def second():
        with locked(path, 'waiting', create=True), open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                seen.append('locked')

    with locked(path, 'waiting', create=True):
        thread = threading.Thread(target=second)
        thread.start()
        while 'waiting' not in capsys.readouterr().err:
            time.sleep(0.01)
        path.rename(tmp_path / 'renamed')
        path.touch()  # by a third process
    thread.join(60)
    assert seen == ['locked']
    with pytest.raises(FileNotFoundError), locked(tmp_path / 'none', 'waiting'):
        pass


def test_a_killed_process_leaves_what_the_next_goes_on_from(server, tmp_path):
    server.chunk_delay = 0.2
    path = tmp_path / 'file.bin'
    code = f'from mmiformer.download import download; download({server.url!r}, {str(path)!r})'
    process = subprocess.Popen([sys.executable, '-c', code], cwd=REPO, stderr=subprocess.DEVNULL)
    part = tmp_path / 'file.bin.part'
    while not (part.exists() and part.stat().st_size) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    arrived = part.stat().st_size
    assert 0 < arrived < len(CONTENT) and not path.exists()
    assert json.loads((tmp_path / 'file.bin.part.json').read_text())['size'] == len(CONTENT)
    server.chunk_delay, server.ranges = 0.0, []
    assert download(server.url, path).read_bytes() == CONTENT
    assert server.ranges == [f'bytes={arrived}-']


def test_logs_stay_short(server, tmp_path, capsys):
    download(server.url, tmp_path / 'file.bin')
    assert capsys.readouterr().err == f'downloading {server.url} (300 kB)\n'
    download(server.url, tmp_path / 'silent.bin', progress=False)
    assert capsys.readouterr().err == ''


def test_progress_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    monkeypatch.setenv('COLUMNS', '100')
    with module.Progress('file.bin', 2_000_000) as bar:
        bar.began -= 10.0  # ten seconds ago
        bar.shown -= 10.0
        bar.update(500_000)
    lines = capsys.readouterr().err.split('\r')
    assert lines[1].rstrip() == 'file.bin: 500 kB of 2.0 MB (25 %), 50.0 kB/s, 0:30 left'


@pytest.mark.parametrize(
    'size, text', [(0, '0 B'), (999, '999 B'), (1000, '1.0 kB'), (19336861798, '19.3 GB'), (5e15, '5000 TB')]
)
def test_human_size(size, text):
    assert human_size(size) == text


def test_imports_neither_torch_nor_mmengine():
    code = 'import sys, mmiformer.download; print([m for m in ("torch", "mmengine", "numpy") if m in sys.modules])'
    assert subprocess.check_output([sys.executable, '-c', code], cwd=REPO, text=True).strip() == '[]'
