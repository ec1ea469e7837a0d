"""`make demo` without the set-up, each training a step or two long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .command import REPO, run
from .in_process import call


def interrupt_when(ready, folder: Path, *arguments: object) -> tuple[int, str]:
    """Start the demo, press Ctrl-C once `ready()`, and return its exit status and what it printed."""
    command = [sys.executable, str(REPO / 'tools/demo.py'), *map(str, arguments)]
    env = dict(os.environ, PYTHONPATH=str(REPO), OMP_NUM_THREADS='1')
    with (folder / 'printed.txt').open('w') as file:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        deadline = time.monotonic() + 500
        while not ready() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C goes to all processes of the terminal
        status = process.wait(100)
    return status, (folder / 'printed.txt').read_text()


def test_demo(tmp_path):
    """Stopped while it trains, it goes on; done, it does nothing; asked for another demo, it refuses."""
    out = tmp_path / 'demo'
    log = out / 'logs' / 'train_mask_r_cnn_iformer_t.log'
    status, printed = interrupt_when(
        lambda: log.is_file() and 'Epoch(train)' in log.read_text(), tmp_path, '--quick', '--out', 'demo'
    )
    assert status == 130 and 'run the same command again' in printed and 'Traceback' not in printed, printed
    assert not (out / 'results').exists()
    drawn = (out / 'data/shapes.json').stat().st_mtime_ns

    printed = run('demo', '--quick', '--out', 'demo', cwd=tmp_path)
    assert 'draw the scenes' not in printed.split('\n\n')[0]
    assert (out / 'data/shapes.json').stat().st_mtime_ns == drawn
    for name in ('box', 'mask', 'mIoU', 'in all', str(out / 'report.html'), str(out / 'report.png')):
        assert name in printed
    measured = json.loads((out / 'results/sem_fpn.json').read_text())
    assert f'all  {measured["figures"]["mIoU"]:.2f}' in printed
    assert (out / 'report.png').stat().st_size > 100_000
    assert '<td>seed</td><td>0</td>' in (out / 'report.html').read_text()

    before = {path: path.stat().st_mtime_ns for path in out.rglob('*') if path.is_file() and path.name != 'demo.json'}
    assert 'is done' in run('demo', '--quick', '--out', 'demo', cwd=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before

    said = run('demo', '--quick', '--seed', 1, '--out', 'demo', cwd=tmp_path, status=1)
    assert "'seed': 0" in said and "'seed': 1" in said and 'FRESH=1' in said and 'Traceback' not in said


def test_fresh_removes_only_a_demo(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/notes.txt').write_text('keep')
    said = run('demo', '--fresh', '--out', 'mine', cwd=tmp_path, status=1)
    assert 'not the folder of a demo' in said and (tmp_path / 'mine/notes.txt').read_text() == 'keep'


@pytest.mark.parametrize(('option', 'value'), [('--images', 1), ('--seed', -1), ('--seed', 2**32)])
def test_wrong_arguments_leave_an_earlier_demo_alone(option, value, tmp_path, monkeypatch, capsys):
    (tmp_path / 'demo/results').mkdir(parents=True)
    (tmp_path / 'demo/demo.json').write_text('{"seed": 0, "images": 300, "quick": false}')
    assert call(monkeypatch, 'demo', '--fresh', '--out', tmp_path / 'demo', option, value) == 2
    assert f'error: {option} {value}' in capsys.readouterr().err
    assert (tmp_path / 'demo/results').is_dir()


def test_fresh_that_is_stopped_leaves_no_half_of_a_demo(tmp_path, monkeypatch):
    (tmp_path / 'demo/data').mkdir(parents=True)
    (tmp_path / 'demo/demo.json').write_text('{"seed": 0, "images": 10, "quick": true}')

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr('shutil.rmtree', stop)
    assert call(monkeypatch, 'demo', '--quick', '--fresh', '--out', tmp_path / 'demo') == 130
    assert not (tmp_path / 'demo').exists()


@pytest.mark.parametrize(('value', 'starts_over'), [('1', True), ('0', False), ('', False)])
def test_make(value, starts_over):
    said = subprocess.run(
        ['make', '-n', 'demo', f'FRESH={value}'], cwd=REPO, capture_output=True, text=True, check=True
    )
    assert ('demo.py --fresh' in said.stdout) == starts_over and 'tools/demo.py' in said.stdout
