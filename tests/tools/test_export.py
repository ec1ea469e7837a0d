"""The command lines that export a network, and evaluate what was exported, for every runtime."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS as DETECTORS
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmiformer.engine.config import read_config
from mmiformer.export import RUNNABLE, RUNTIMES, find_runtime

from ..export.here import needs
from ..helpers import SHALLOW, randomize
from ..left_out import needs_extra
from .command import REPO
from .in_process import call
from .made_data import make_ade

needs_extra('exports')

CONFIG = f"""
_base_ = '{REPO}/configs/sem_fpn/iformer_t_40k.py'
model = dict(
    backbone=dict(_delete_=True, type='mmiformer.IFormer', arch={SHALLOW}, window_size=4),
    neck=dict(in_channels={list(SHALLOW['channels'])}, out_channels=16, norm_cfg=dict(type='BN')),
    decode_head=dict(in_channels=[16] * 4, channels=16, norm_cfg=dict(type='BN')),
)
"""


@pytest.fixture(scope='module')
def network(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A small segmentor's config and weights, and five images of as many shapes."""
    folder = tmp_path_factory.mktemp('network')
    config = folder / 'small.py'
    config.write_text(CONFIG)
    init_default_scope('mmseg')
    model = randomize(MODELS.build(read_config(config).model))
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    return config, folder / 'weights.pth', make_ade(folder / 'ade', val=5)


@pytest.mark.parametrize('name', [pytest.param(name, marks=needs(name)) for name in RUNTIMES if name != 'web'])
def test_export(name, network, tmp_path, monkeypatch, capsys):
    config, weights, _ = network
    options = ('--checkpoint', weights, '--to', name, '--size', 72, 104, '--precision', 'fp32', '--out', tmp_path)
    assert call(monkeypatch, 'export', config, *options) is None
    printed = capsys.readouterr().out
    path = tmp_path / f'small_backbone_72x104_fp32{find_runtime(name).suffix}'
    assert path.exists() and f'written to {path}\n' in printed
    assert 'input: image; outputs: stage1, stage2, stage3, stage4' in printed
    assert re.search(r'^torch: \d{3} operators', printed, re.MULTILINE)
    if name == 'executorch-coreml':
        assert f'{name}: 1 operators (1 delegate)' in printed and 'this machine cannot run it' in printed
    else:
        distances = re.findall(r'stage\d (\d\.\de-\d\d)', printed)
        assert len(distances) == 4 and all(0 < float(distance) < 1e-5 for distance in distances)


def test_dynamic_segmentor_from_pixels(network, tmp_path, monkeypatch, capsys):
    """One file for any number of images of any size in multiples of 256, equal to torch at each."""
    import onnxruntime

    config, weights, _ = network
    options = ('--what', 'segmentor', '--image', '--dynamic', '--size', 256, '--out', tmp_path)
    assert call(monkeypatch, 'export', config, '--checkpoint', weights, '--to', 'onnx', *options) is None
    assert 'labels 0.0e+00' in capsys.readouterr().out
    model = tmp_path / 'small_segmentor_dynamic_fp32.onnx'
    session = onnxruntime.InferenceSession(model)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 3, 256, 512)).astype(np.float32)
    [both] = session.run(None, {'image': pixels})
    [second] = session.run(None, {'image': pixels[1:]})
    assert both.shape == (2, 256, 512) and np.array_equal(both[1:], second)


def test_head_of_a_detector(tmp_path, monkeypatch, capsys):
    config = tmp_path / 'small.py'
    config.write_text(f"""
_base_ = '{REPO}/configs/mask_rcnn/iformer_t_1x.py'
model = dict(
    backbone=dict(_delete_=True, type='mmiformer.IFormer', arch={SHALLOW}, window_size=4),
    neck=dict(in_channels={list(SHALLOW['channels'])}),
    roi_head=dict(bbox_head=dict(fc_out_channels=16)),
)
""")
    init_default_scope('mmdet')
    model = DETECTORS.build(read_config(config).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    options = ('--checkpoint', tmp_path / 'weights.pth', '--to', 'onnx', '--what', 'mask_head', '--size', 96)
    assert call(monkeypatch, 'export', config, *options, '--out', tmp_path) is None
    printed = capsys.readouterr().out
    assert 'input: crops of 256 x 14 x 14; outputs: masks' in printed
    assert 0 < float(re.search(r'masks (\d\.\de-\d\d)', printed)[1]) < 1e-5
    assert (tmp_path / 'small_mask_head_any_fp32.onnx').is_file()
    error = call(monkeypatch, 'export', config, *options, '--image', '--out', tmp_path)
    assert '--image: what --what mask_head takes is cut out of maps' in error


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('t', '--to', 'onnx', '--ios', '18'), '--ios is for --to coreml or executorch-coreml, not for onnx'),
        (('t', '--to', 'coreml', '--dynamic'), '--dynamic is for --to onnx, not for coreml'),
        (('t', '--to', 'openvino', '--calibrate', 'x'), 'openvino in fp32 has none'),
        (
            ('t', '--to', 'coreml', '--what', 'detector'),
            'coreml has no --what detector in fp16. What there is:\n  --to',
        ),
        (('t', '--to', 'onnx', '--what', 'segmentor'), '--what segmentor needs a config, t is a variant'),
        (('configs/sem_fpn/iformer_t_40k.py', '--to', 'onnx'), 'name its weights by --checkpoint'),
    ],
)
def test_what_does_not_go_together(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(REPO)
    error = call(monkeypatch, 'export', *arguments, '--out', tmp_path / 'out')
    assert message in error and not (tmp_path / 'out').exists()


# tools/test.py in a process of its own, which says when its runtime opens a file.
LOADING = """
import runpy, sys
from mmiformer.export import find_runtime
runtime = type(find_runtime(sys.argv[1]))
load = runtime.load
def say_and_load(*arguments):
    print('loaded a file')
    return load(*arguments)
runtime.load = say_and_load
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.parametrize('name', [pytest.param(name, marks=needs(name)) for name in RUNNABLE])
def test_evaluation_of_what_was_exported(name, network, tmp_path):
    """The label maps are torch's, for images of five shapes."""
    config, weights, data = network
    options = ('--data-root', data, '--cfg-options', 'test_dataloader.num_workers=0')
    options += ('test_dataloader.dataset.pipeline.1.scale=(128,64)',)
    for out, more in (('torch', ()), (name, ('--runtime', name))):
        command = [
            sys.executable,
            '-c',
            LOADING,
            name,
            REPO / 'tools/test.py',
            config,
            weights,
            '--dump',
            tmp_path / out,
        ]
        command = [str(argument) for argument in (*command, '--dump', tmp_path / out, *more, *options)]
        env = os.environ | dict(PYTHONPATH=str(REPO))
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count('loaded a file') == 5
    files = sorted((tmp_path / 'torch').glob('*.png'))
    assert len(files) == 5
    for file in files:
        expected, found = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (file, tmp_path / name / file.name))
        assert len(np.unique(expected)) > 1 and (found == expected).mean() > 0.999
