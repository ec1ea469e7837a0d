"""The page for browsers, in one, and the runner of docs/, against ONNX Runtime and torch."""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmiformer.datasets.shapes import CLASSES, make_scene
from mmiformer.engine.config import read_config
from mmiformer.errors import UserError
from mmiformer.export import network_of
from mmiformer.export.replace import as_input
from mmiformer.export.web import FILES
from mmiformer.reproduce.report import write_report
from mmiformer.reproduce.rows import rows_of

from ..chromium import CHROMIUM, Chromium
from ..helpers import SHALLOW, randomize
from ..left_out import needs_extra
from ..tools.command import REPO
from ..tools.in_process import call

needs_extra('exports')
import onnxruntime  # noqa: E402

CONFIG = REPO / 'configs/sem_fpn/iformer_t_shapes.py'
SMALL = f"""
_base_ = '{CONFIG}'
backbone = dict(arch={dict(SHALLOW, _delete_=True)}, init_cfg=None)
model = dict(backbone=backbone, neck=dict(in_channels={list(SHALLOW['channels'])}))
"""
SIZE = 128


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('config') / 'small.py'
    path.write_text(SMALL)
    return path


@pytest.fixture(scope='module')
def segmentor(config) -> torch.nn.Module:
    cfg = read_config(config)
    init_default_scope('mmseg')
    cfg.model.decode_head.norm_cfg = dict(type='BN')
    return randomize(MODELS.build(cfg.model)).eval()


@pytest.fixture(scope='module')
def exported(tmp_path_factory, config, segmentor):
    """Export the segmentor by the command line: a function of --to, which returns the folder."""
    folder = tmp_path_factory.mktemp('exported')
    torch.save(dict(state_dict=segmentor.state_dict(), meta={}), folder / 'segmentor.pth')
    options = [config, '--checkpoint', folder / 'segmentor.pth', '--what', 'segmentor', '--size', SIZE]

    def export(runtime: str, *more: str) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            failed = call(patch, 'export', *options, '--to', runtime, '--out', folder / runtime, *more)
        if failed and 'npm' in failed:
            pytest.skip(failed)
        assert failed is None
        return folder / runtime

    return export


@pytest.fixture(scope='module')
def page(exported) -> Path:
    """The folder of the page, with a photo that is not its example."""
    folder = exported('web')
    Image.fromarray(make_scene(0, 'val', 5).image[..., ::-1]).resize((SIZE, SIZE)).save(folder / 'photo.png')
    return folder


@pytest.fixture(scope='module')
def browser():
    if CHROMIUM is None:
        pytest.skip('there is no Chromium here')
    with Chromium() as chromium:
        yield chromium


def started(folder: Path) -> tuple[subprocess.Popen, str]:
    """tools/serve_page.py, and its address on this machine."""
    command = [sys.executable, REPO / 'tools/serve_page.py', folder, '--port', '0']
    server = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in server.stdout:
        if found := re.search(r'https://localhost:\d+', line):
            return server, found[0]
    raise AssertionError(f'ended with {server.wait()}')


def test_label_map_in_a_browser_is_that_of_onnx_runtime(page, browser, tmp_path):
    server, address = started(page)
    try:
        found = browser.open(f'{address}/?image=photo.png&labels')
        shown = browser.run('[...document.querySelector("#overlay").getContext("2d").getImageData(9, 99, 1, 1).data]')
        names = browser.run('[...document.querySelectorAll("#classes span")].map(name => name.textContent)')
        browser.photograph(tmp_path / 'page.png', 390, dark=True)
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 130

    labels = np.repeat(found['labels'][::2], found['labels'][1::2]).reshape(SIZE, SIZE)
    session = onnxruntime.InferenceSession(page / 'network.onnx', providers=['CPUExecutionProvider'])
    with Image.open(page / 'photo.png') as photo:
        [expected] = session.run(None, {'image': as_input(photo, SIZE, SIZE).numpy()})
    assert len(np.unique(labels)) > 1
    assert (labels == expected[0]).mean() > 0.999

    known = json.loads((page / 'network.json').read_text())
    assert known['classes'] == ['background', *CLASSES]
    assert shown == [*known['palette'][labels[99, 9]], 255]
    assert set(names) == {known['classes'][label] for label in np.unique(labels)}
    with Image.open(tmp_path / 'page.png') as picture:
        assert picture.width == 390 and picture.height > 800 and picture.convert('L').getpixel((1, 1)) < 40

    facts, [entry] = found['facts'], found['entries']
    assert facts['isolated'] and facts['threads'] == min(4, facts['cores'])
    assert (facts['backend'], facts['webgpu']) != ('wasm', 'used') and 'Chrome' in facts['user_agent']
    assert entry['key'] == 'small' and entry['difference'] <= 0.001 and entry['size'] == [SIZE, SIZE]
    assert len(entry['seconds']) >= 5
    assert entry['ms'][1] == pytest.approx(1000 * statistics.median(entry['seconds']))

    (tmp_path / 'web-phone.json').write_text(json.dumps(found))
    write_report(tmp_path, 'Table 5', rows_of(5)[:1], [], [], tmp_path)
    report = (tmp_path / 'report.md').read_text()
    assert facts['user_agent'] in report and 'small, segmentor' in report
    (tmp_path / 'web-phone.json').write_text('{}')
    with pytest.raises(UserError, match=r'web-phone\.json is not what'):
        write_report(tmp_path, 'Table 5', rows_of(5)[:1], [], [], tmp_path)


def test_without_the_headers_there_is_one_thread_and_the_page_says_so(page, browser):
    class Plain(SimpleHTTPRequestHandler):
        extensions_map = SimpleHTTPRequestHandler.extensions_map | {'.mjs': 'text/javascript'}

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Plain, directory=page)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        facts = browser.open(f'http://127.0.0.1:{server.server_port}/?backend=wasm')['facts']
        said = browser.run('document.querySelector("#backend").textContent')
        server.shutdown()
    assert (facts['threads'], facts['isolated'], facts['webgpu']) == (1, False, 'not asked for')
    assert '1 thread (more need the headers COOP and COEP). WebGPU: not asked for' in said


def test_the_page_takes_nothing_from_elsewhere(page):
    assert {path.name for path in (page / 'ort').iterdir()} == set(FILES)
    assert 'http' not in re.sub(r'\bhttps?( or localhost)?\b(?!:)', '', (page / 'index.html').read_text())


def test_normalization_and_channels_are_those_of_the_model(segmentor):
    network = network_of(segmentor, 'segmentor')
    assert network.channels == (0, 1, 2) and network.mean == pytest.approx((123.675, 116.28, 103.53))
    segmentor.data_preprocessor.channel_conversion = False
    assert network_of(segmentor, 'segmentor').channels == (2, 1, 0)
    segmentor.data_preprocessor.channel_conversion = True
    assert network_of(segmentor, 'segmentor', image=True).std == (1, 1, 1)


def test_what_is_missing_is_one_error(monkeypatch, tmp_path):
    def failed(tool, *arguments) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv('PATH', str(tmp_path))
            return call(patch, tool, *arguments)

    export = ('export', 't', '--to', 'web', '--what', 'classifier', '--size', '64', '--out', tmp_path / 'page')
    assert 'there is no npm here. Install Node.js' in failed(*export)
    (tmp_path / 'npm').write_text('#!/bin/sh\necho "npm error code E404" >&2\nexit 1\n')
    (tmp_path / 'npm').chmod(0o755)
    assert 'npm pack onnxruntime-web@' in (said := failed(*export)) and said.endswith('npm error code E404')
    assert not list((tmp_path / 'page').iterdir())
    assert 'has no --what detector' in call(
        monkeypatch, 'export', 't', '--to', 'web', '--what', 'detector', '--out', 'x'
    )

    assert 'has no index.html' in failed('serve_page', tmp_path)
    (tmp_path / 'index.html').write_text('')
    assert 'made by openssl, and there is none here' in failed('serve_page', tmp_path)
    with ThreadingHTTPServer(('', 0), SimpleHTTPRequestHandler) as other:
        said = call(monkeypatch, 'serve_page', tmp_path, '--port', other.server_port)
    assert f'port {other.server_port} cannot be used' in said and '--port' in said


def test_runner_needs_nothing_of_this_package(exported, segmentor, tmp_path):
    [network] = exported('onnx', '--image').glob('*.onnx')
    photo = Image.fromarray(make_scene(0, 'val', 3).image[..., ::-1]).resize((200, 150))
    photo.save(tmp_path / 'photo.png')
    code = (
        'import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name="__main__"); '
        'print(sorted({"torch", "mmengine", "mmcv", "mmseg", "mmdet", "mmiformer"} & set(sys.modules)))'
    )
    command = [sys.executable, '-c', code, REPO / 'docs/run_onnx.py', network, 'photo.png', 'picture.png']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *shares, modules = done.stdout.splitlines()
    assert modules == '[]'

    with torch.no_grad():
        logits = segmentor.encode_decode(as_input(photo, SIZE, SIZE), [dict(img_shape=(SIZE, SIZE))])
    labels = logits.argmax(1)[0].numpy()
    palette = np.array(read_config(CONFIG).test_dataloader.dataset.metainfo.palette, np.uint8)
    colors = Image.fromarray(palette[labels]).resize(photo.size, Image.Resampling.NEAREST)
    with Image.open(tmp_path / 'picture.png') as picture:
        off = np.abs(np.asarray(picture, int) - np.asarray(Image.blend(photo, colors, 0.6), int)).max(-1)
    assert (off > 1).mean() < 0.001
    assert len(shares) == len(np.unique(labels)) > 1
