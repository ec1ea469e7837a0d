"""The tables over all runtimes: what they compute and consist of, and what they cost in AP and mIoU."""

from __future__ import annotations

import json
import re
import runpy
import sys

import pytest

from mmiformer.demo.run import TASKS
from mmiformer.engine.jobs import Steps
from mmiformer.export import RUNNABLE, find_runtime
from mmiformer.models import IFormer

from ..export.here import HAS_EXECUTORCH
from ..helpers import SHALLOW
from ..left_out import needs_extra
from .command import REPO
from .in_process import call

needs_extra('exports')


def test_comparison_with_torch(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr('mmiformer.models.IFormer', lambda arch: IFormer(SHALLOW, window_size=4))
    options = ('--sizes', 64, '72x104', '--to', 'onnx', '--out', tmp_path)
    assert call(monkeypatch, 'compare_exports', 't', *options) is None
    text = (tmp_path / 'table.md').read_text()
    assert text in capsys.readouterr().out
    [row] = re.findall(r'^\| onnx \| fp32 \| (\S+) \(\S+\) \| (\S+) \(\S+\) \|$', text, re.MULTILINE)
    assert all(0 < float(distance) < 1e-5 for distance in row)
    counts = dict(re.findall(r'^\| (torch|onnx, 16 chunks|onnx, 1 chunk)[^|]*\| (\d+) ', text, re.MULTILINE))
    assert int(counts['torch']) > int(counts['onnx, 16 chunks']) > int(counts['onnx, 1 chunk']) > 50


@pytest.mark.skipif(not HAS_EXECUTORCH, reason='ExecuTorch is for torch 2.13, which this Python lacks here')
def test_evaluation_of_every_runtime(monkeypatch, tmp_path, capsys):
    """Its command lines are such as tools/test.py takes; their figures are made up here."""
    assert 'not the folder of a demo' in call(monkeypatch, 'evaluate_exports', tmp_path)
    (tmp_path / 'demo.json').write_text(json.dumps(dict(seed=0, images=10, quick=True)))
    assert 'run make demo to its end' in call(monkeypatch, 'evaluate_exports', tmp_path)
    for task in TASKS:
        (tmp_path / task.name).mkdir()
        (tmp_path / task.name / 'last_checkpoint').write_text('last.pth')
        (tmp_path / task.name / 'last.pth').touch()
    parse = runpy.run_path(str(REPO / 'tools/test.py'))['parse_args']
    asked = []

    def pretend(self, *steps):
        for number, step in enumerate(steps):
            monkeypatch.setattr(sys, 'argv', [str(word) for word in step.command[1:]])
            args = parse()
            asked.append((args.runtime, args.precision, bool(args.calibrate), args.config.split('/')[-2]))
            figures = dict(mIoU=80 + len(asked)) if number else {'box AP': 50.04, 'mask AP': 40.06}
            args.out.parent.mkdir(exist_ok=True)
            args.out.write_text(json.dumps(dict(figures=figures)))

    monkeypatch.setattr(Steps, 'run', pretend)
    assert call(monkeypatch, 'evaluate_exports', tmp_path) is None
    precisions = [(name, one) for name in RUNNABLE for one in find_runtime(name).precisions]
    assert {(*key, key[1] == 'int8', task.name) for key in precisions if key[1] != 'bf16' for task in TASKS} <= set(
        asked
    )
    lines = (tmp_path / 'exports/table.md').read_text().splitlines()
    assert lines[2] == '| runtime | precision | box AP | mask AP | mIoU |'
    assert lines[4] == '| torch | fp32 | 50.0 | 40.1 | 82.0 |' and len(lines) == 4 + len(asked) / 2
