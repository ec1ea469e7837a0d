"""The whole machinery, as `tools/reproduce.py --smoke` runs it, but smaller: one row, trainings of a few steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ..tools.command import REPO

SMALL = """
import sys
from pathlib import Path
from mmiformer.reproduce.smoke import ROWS, smoke
out, tools = map(Path, sys.argv[1:])
smoke(out, tools, rows={'iformer_t': ROWS['iformer_t']}, images=10, epochs=2, iterations=2, rounds=2)
"""


def smoke(out: Path) -> str:
    """Run it in a process of its own, since it sends itself a signal; what it says."""
    command = [sys.executable, '-c', SMALL, out, REPO / 'tools']
    done = subprocess.run(command, env=os.environ | dict(PYTHONPATH=str(REPO)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_smoke(tmp_path):
    """It is killed while it trains and goes on; done, it does nothing again."""
    assert 'killed after its first checkpoint' in smoke(tmp_path)
    (run,) = tmp_path.glob('runs/coco-iformer_t-*-seed0')
    (log,) = run.glob('logs/train*.log')
    assert 'resumed epoch: 1' in log.read_text()

    found = [json.loads(path.read_text()) for path in tmp_path.glob('results/*.json')]
    assert {(one['task'], one['kind']) for one in found} == {
        (task, kind) for task in ('coco', 'ade20k') for kind in ('trained', 'evaluated')
    }
    assert {one['images'] for one in found} == {2} and {one['seed'] for one in found} == {0, None}
    assert all(one['commit'] and one['versions']['torch'] and one['machine']['processor'] for one in found)
    forms = {one['form'] for one in json.loads((tmp_path / 'measured/smoke.json').read_text())['entries']}
    assert forms == {'plain', 'deploy'}
    page = (tmp_path / 'report.html').read_text()
    assert 'iFormer-T' in page and page.count('data:image/png') == 3
    assert all(f'<td>{one["commit"]}</td>' in page for one in found)

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*') if path.is_file()}
    smoke(tmp_path)
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {*('report.html', 'report.md', 'latency.png', 'curves_coco.png', 'curves_ade20k.png')} | {
        path.name for path in tmp_path.glob('configs/*')
    }
