"""Weight files from a server on this machine, which breaks off and lies, and plays the Hugging Face hub too."""

import multiprocessing
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from mmiformer import download
from mmiformer.errors import MissingFile
from tests.http_server import Server, running

REPO = Path(__file__).parents[1]
CONTENT = np.random.default_rng(0).bytes(300_000)
ON_THE_HUB = 'https://huggingface.co/timm/iformer_m.in1k/resolve/main/model.safetensors'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, in the place of torch's."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    return tmp_path / 'hub' / 'checkpoints'


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with running(Server(CONTENT)) as server:
        yield server


def set_endpoint(monkeypatch, url: str) -> None:
    """As the environment variable HF_ENDPOINT does before huggingface_hub is imported."""
    template = f'{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}'
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    monkeypatch.setattr(constants, 'ENDPOINT', url)


@pytest.fixture
def hub(server, monkeypatch):
    """The server as the hub, where it has the file of `ON_THE_HUB` alone."""
    set_endpoint(monkeypatch, server.base_url)
    monkeypatch.setattr('huggingface_hub.file_download.time.sleep', lambda seconds: None)  # between attempts
    server.content = {ON_THE_HUB.removeprefix('https://huggingface.co'): CONTENT}
    server.headers = {'X-Repo-Commit': 40 * '1'}
    return server


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != '.lock')


@pytest.mark.parametrize('where', ['a plain URL', 'the hub'])
def test_fetches_once(server, cache, request, where):
    url = server.url
    if where == 'the hub':
        request.getfixturevalue('hub')
        url = ON_THE_HUB
    path = download.fetch('w.pth', (url,))
    assert path == cache / 'w.pth' and path.read_bytes() == CONTENT
    assert visible(cache) == ['w.pth']
    server.requests.clear()
    assert download.fetch('w.pth', (url,)) == path and not server.requests


def test_takes_a_file_put_there_by_hand(server, cache):
    cache.mkdir(parents=True)
    (cache / 'w.pth').write_bytes(b'by hand')
    assert download.fetch('w.pth', (server.url,)).read_bytes() == b'by hand'
    assert not server.requests


@pytest.mark.parametrize('first', ['http://127.0.0.1:1/w.pth', 'wrong'])
def test_tries_the_next_url(server, cache, first):
    server.content = {'/right': CONTENT}
    first = f'{server.base_url}/wrong' if first == 'wrong' else first
    assert download.fetch('w.pth', (first, f'{server.base_url}/right')).read_bytes() == CONTENT


@pytest.mark.parametrize('announced', [None, len(CONTENT) + 1000])
def test_half_a_file_never_passes_for_a_whole_one(server, cache, announced):
    server.announced = announced
    server.break_after = [None, 120_000]  # the first request asks for the size alone
    with pytest.raises(MissingFile, match='ended at 120000 of 30[01]000 bytes'):
        download.fetch('w.pth', (server.url,))
    assert visible(cache) == []
    server.announced = None
    assert download.fetch('w.pth', (server.url,)).read_bytes() == CONTENT


def test_the_hub_goes_on_where_the_connection_broke(hub, cache, monkeypatch):
    monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 10_000)
    hub.break_after = [120_000]
    assert download.fetch('w.pth', (ON_THE_HUB,)).read_bytes() == CONTENT
    assert hub.ranges[-1] == 'bytes=120000-'


def test_the_hub_breaks_off_for_good(hub, cache):
    hub.break_after = [120_000, *20 * [0]]
    with pytest.raises(MissingFile):
        download.fetch('w.pth', (ON_THE_HUB,))
    assert visible(cache) == []


@pytest.mark.parametrize('where', ['a plain URL', 'the hub'])
def test_what_nobody_has(server, hub, cache, where):
    server.content = {}
    urls = (ON_THE_HUB,) if where == 'the hub' else (server.url, f'{server.base_url}/other')
    with pytest.raises(FileNotFoundError) as caught:
        download.fetch('w.pth', urls)
    message = str(caught.value)
    for part in (*urls, str(cache / 'w.pth'), 'by hand', '--no-pretrained', '404'):
        assert part in message
    assert visible(cache) == []


@pytest.mark.parametrize('where', ['a plain URL', 'the hub'])
def test_no_network(cache, monkeypatch, where):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with socket.socket() as unused:  # bound, but nobody listens: connections are refused
        unused.bind(('127.0.0.1', 0))
        endpoint = f'http://127.0.0.1:{unused.getsockname()[1]}'
        set_endpoint(monkeypatch, endpoint)
        url = ON_THE_HUB if where == 'the hub' else f'{endpoint}/w.pth'
        began = time.monotonic()
        with pytest.raises(MissingFile, match=f'Put it at {cache}/w.pth by hand(.|\n)*refused'):
            download.fetch('w.pth', (url,))
        assert time.monotonic() - began < 10


def test_a_cache_that_cannot_be_written(server, cache):
    cache.parent.write_text('a file where a folder should be')
    with pytest.raises(MissingFile, match='Not a directory'):
        download.fetch('w.pth', (server.url,))


def test_processes_that_want_one_file_wait_for_each_other(server, cache):
    server.chunk_delay = 0.05
    context = multiprocessing.get_context('fork')
    workers = [context.Process(target=download.fetch, args=('w.pth', (server.url,))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == 4 * [0]
    assert len(server.requests) == 2  # the size, the file
    assert (cache / 'w.pth').read_bytes() == CONTENT


def test_a_killed_process_leaves_no_file(server, tmp_path):
    server.chunk_delay = 0.3
    code = (
        f'import torch; torch.hub.set_dir({str(tmp_path)!r})\n'
        f'from mmiformer.download import fetch; fetch("w.pth", ({server.url!r},))'
    )
    process = subprocess.Popen([sys.executable, '-c', code], cwd=REPO, stderr=subprocess.DEVNULL)
    while len(server.requests) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert len(server.requests) == 2 and not (tmp_path / 'checkpoints' / 'w.pth').exists()


@pytest.mark.parametrize(
    ('url', 'name'),
    [
        ('https://host/a/iFormer%20m.pth?download=1', 'iFormer m.pth'),
        ('https://huggingface.co/BillionZheng/iFormer/resolve/main/iFormer_m.pth', 'iFormer_m.pth'),
        (ON_THE_HUB, 'iformer_m.in1k.safetensors'),
        (
            'https://huggingface.co/timm/repvit_m1_1.dist_in1k/resolve/main/pytorch_model.bin',
            'repvit_m1_1.dist_in1k.bin',
        ),
    ],
)
def test_names_in_the_cache(url, name):
    assert download.name_of(url) == name
