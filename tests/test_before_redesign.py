"""A checkpoint that the project wrote before its redesign, in November 2026, goes on as it did.

`tests/data/before_redesign.pth.gz` is `iter_100.pth` of `tools/train.py before_redesign.py --seed 0` at commit f41d72a,
on the scenes of `tools/make_shapes.py shapes --images 20 --size 64`; `before_redesign_deploy.pth.gz` is the deploy form
of its backbone. The figures are those that `tools/test.py` measured at that commit.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from .tools.command import REPO
from .tools.in_process import call

DATA = REPO / 'tests/data'
CONFIG = DATA / 'before_redesign.py'
FIGURES = dict(mIoU=16.14, mAcc=24.72, aAcc=62.91)
WHERE = ('--data-root', 'shapes/ade')


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ('before_redesign', 'before_redesign_deploy'):
        (tmp_path / f'{name}.pth').write_bytes(gzip.decompress((DATA / f'{name}.pth.gz').read_bytes()))
    return tmp_path


def backbone(**changes) -> torch.nn.Module:
    return MODELS.build({**Config.fromfile(CONFIG).model.backbone, **changes}).eval()


@pytest.mark.parametrize(
    ('options', 'within'), [((), 0.05), (('--deploy',), 0.05), (('--deploy', '--dtype', 'bf16'), 1)]
)
def test_evaluates_to_the_same_figures(folder, monkeypatch, options, within):
    assert call(monkeypatch, 'make_shapes', 'shapes', '--images', 20, '--size', 64) is None
    assert call(monkeypatch, 'test', CONFIG, 'before_redesign.pth', *WHERE, '--out', 'figures.json', *options) is None
    assert json.loads((folder / 'figures.json').read_text())['figures'] == pytest.approx(FIGURES, abs=within)


def test_resumes(folder, monkeypatch):
    assert call(monkeypatch, 'make_shapes', 'shapes', '--images', 20, '--size', 64) is None
    options = ('--resume', 'before_redesign.pth', '--work-dir', 'run', '--cfg-options', 'train_cfg.max_iters=102')
    assert call(monkeypatch, 'train', CONFIG, *WHERE, *options) is None
    before, after = (torch.load(name, weights_only=False) for name in ('before_redesign.pth', 'run/iter_102.pth'))
    assert (before['meta']['iter'], after['meta']['iter'], after['meta']['seed']) == (100, 102, 0)
    assert before['state_dict'].keys() == after['state_dict'].keys()
    key = 'backbone.stem.0.conv.weight'
    assert 0 < (before['state_dict'][key] - after['state_dict'][key]).abs().max() < 0.05  # two steps at 1e-2
    steps = {state['step'].item() for state in after['optimizer']['state'].values()}
    schedules = zip(before['param_schedulers'], after['param_schedulers'], strict=True)
    assert steps == {102} and all(new['_global_step'] - old['_global_step'] == 2 for old, new in schedules)


def test_its_backbone_loads_alone(folder):
    pretrained = backbone(init_cfg=dict(type='Pretrained', checkpoint='before_redesign.pth'))
    pretrained.init_weights()
    saved = torch.load('before_redesign.pth', weights_only=False)['state_dict']
    state = pretrained.state_dict()
    assert len(state) > 100 and all(torch.equal(value, saved[f'backbone.{key}']) for key, value in state.items())

    deployed = backbone(deploy=True)
    deployed.load_state_dict(torch.load('before_redesign_deploy.pth')['state_dict'])
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for plain, fast in zip(pretrained(image), deployed(image), strict=True):
            torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)
