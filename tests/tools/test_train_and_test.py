"""The unmodified configs of T train, evaluate, resume and are tested, on a handful of tiny images."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image

from ..helpers import differences, randomize
from ..parity import released_state_dict
from .command import REPO, run
from .in_process import call
from .made_data import make_ade, make_coco

MASK_RCNN = REPO / 'configs/mask_rcnn/iformer_t_1x.py'
SEM_FPN = REPO / 'configs/sem_fpn/iformer_t_40k.py'

SMALL_COCO = (
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
    'train_dataloader.dataset.pipeline.2.scale=(96,64)',
    'val_dataloader.dataset.pipeline.1.scale=(96,64)',
    'test_dataloader.dataset.pipeline.1.scale=(96,64)',
    'model.train_cfg.rpn_proposal.max_per_img=20',
    'model.train_cfg.rcnn.sampler.num=16',
    'model.test_cfg.rpn.max_per_img=20',
    'model.test_cfg.rcnn.score_thr=0.0',
    'model.test_cfg.rcnn.max_per_img=10',
    'model.roi_head.mask_head.num_convs=1',
    'model.roi_head.bbox_head.fc_out_channels=64',
    'default_hooks.logger.interval=1',
)
SMALL_ADE = (
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
    'train_dataloader.batch_size=2',
    'train_dataloader.dataset.pipeline.2.scale=(128,64)',
    'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
    'model.data_preprocessor.size=(64,64)',
    'val_dataloader.dataset.pipeline.1.scale=(128,64)',
    'test_dataloader.dataset.pipeline.1.scale=(128,64)',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=2',
    'train_cfg.val_interval=2',
)


def scalars(work_dir: Path) -> list[dict]:
    """What MMEngine logged, over all runs in a work directory, oldest first."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def load(path: Path) -> dict:
    return torch.load(path, weights_only=False)


def test_mask_rcnn(tmp_path):
    make_coco(tmp_path / 'coco', list(CocoDataset.METAINFO['classes']), val=2)
    config = (MASK_RCNN, '--data-root', 'coco')
    options = ('--cfg-options', *SMALL_COCO)
    train = (*config, '--no-pretrained', '--work-dir', 'run')
    printed = run('train', *train, '--vis', 2, *options, 'train_cfg.max_epochs=1', cwd=tmp_path)
    assert 'norm_eval=False' in printed and 'batch of 16, and this run has 2' in printed
    work_dir = tmp_path / 'run'
    losses = [line['loss'] for line in scalars(work_dir) if 'loss' in line]
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert {path.stem.rsplit('_', 1)[0] for path in work_dir.glob('*/vis_data/vis_image/*')} == {'val_0', 'val_1'}

    printed = run('train', *train, '--resume', *options, 'train_cfg.max_epochs=2', cwd=tmp_path)
    assert 'resumed epoch: 1, iter: 2' in printed
    assert [line['iter'] for line in scalars(work_dir) if 'loss' in line] == [1, 2, 3, 4]
    before, after = load(work_dir / 'epoch_1.pth'), load(work_dir / 'epoch_2.pth')
    assert before['meta']['seed'] == after['meta']['seed'] and after['meta']['iter'] == 4
    assert not torch.equal(
        before['state_dict']['backbone.stem.0.norm.running_mean'],
        after['state_dict']['backbone.stem.0.norm.running_mean'],
    )

    where = ('--out', 'figures.json', '--dump', 'dump')
    printed = run('test', *config, work_dir / 'epoch_2.pth', *where, *options, cwd=tmp_path)
    figures = json.loads((tmp_path / 'figures.json').read_text())['figures']
    validated = [line for line in scalars(work_dir) if 'coco/bbox_mAP' in line][-1]
    names = {'box AP': 'coco/bbox_mAP', 'box AP50': 'coco/bbox_mAP_50', 'mask AP': 'coco/segm_mAP'}
    assert {name: figures[name] for name in names} == {
        name: pytest.approx(100 * validated[key]) for name, key in names.items()
    }
    assert printed.splitlines()[-6].split() == ['%', 'AP', 'AP50', 'AP75', 'APs', 'APm', 'APl']
    boxes = json.loads((tmp_path / 'dump/results.bbox.json').read_text())
    assert boxes and len(boxes) == len(json.loads((tmp_path / 'dump/results.segm.json').read_text()))
    assert not (tmp_path / 'run' / 'test').exists() and (tmp_path / 'work_dirs/iformer_t_1x/test').is_dir()


def test_sem_fpn(tmp_path):
    make_ade(tmp_path / 'ade')
    torch.save(dict(model=released_state_dict('cls_t')), tmp_path / 'weights.pth')
    pretrained = f'model.backbone.init_cfg.checkpoint={tmp_path / "weights.pth"}'
    config = (SEM_FPN, '--data-root', tmp_path / 'ade')
    options = ('--cfg-options', *SMALL_ADE)
    train = (*config, '--work-dir', 'run')
    printed = run('train', *train, '--seed', 7, *options, pretrained, 'train_cfg.max_iters=2', cwd=tmp_path)
    assert 'Pass --auto-scale-lr to scale it by 2/32' in printed
    work_dir = tmp_path / 'run'
    assert (work_dir / 'iter_2.pth').is_file()

    # The pretrained weights are not asked for again: the config names a file that must not be fetched.
    printed = run('train', *train, '--resume', *options, 'train_cfg.max_iters=4', cwd=tmp_path)
    assert 'resumed epoch: 0, iter: 2' in printed
    lines = scalars(work_dir)
    assert [line['step'] for line in lines if 'loss' in line] == [1, 2, 3, 4]
    after = load(work_dir / 'iter_4.pth')
    assert after['meta']['seed'] == 7
    weights = after['state_dict']
    key = 'downsample_layers.0.0.bn'  # frozen statistics, trained affine
    released = released_state_dict('cls_t')
    assert torch.equal(weights['backbone.stem.0.norm.running_mean'], released[f'{key}.running_mean'])
    assert not torch.equal(weights['backbone.stem.0.norm.weight'], released[f'{key}.weight'])

    where = ('--out', 'figures.json', '--dump', 'dump')
    run('test', *config, work_dir / 'iter_4.pth', '--deploy', *where, *options, cwd=tmp_path)
    figures = json.loads((tmp_path / 'figures.json').read_text())['figures']
    validated = [line for line in lines if 'mIoU' in line][-1]
    assert figures == {name: pytest.approx(validated[name], abs=0.05) for name in ('mIoU', 'mAcc', 'aAcc')}
    for path in (tmp_path / 'ade/images/validation').glob('*.jpg'):
        answer = Image.open(tmp_path / 'dump' / f'{path.stem}.png')
        assert answer.size == Image.open(path).size and 1 <= np.min(answer) <= np.max(answer) <= 150


def ending(monkeypatch, tool: str, *arguments: object) -> str:
    """The error message that a tool, run in this process, ends with."""
    code = call(monkeypatch, tool, *arguments)
    assert str(code).startswith('error: ')
    return code


def test_what_is_wrong_is_said_in_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('COCO_ROOT', raising=False)
    make_coco(tmp_path / 'coco', list(CocoDataset.METAINFO['classes']), 1, 1)
    for name in ('run', 'full'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'epoch_1.pth').touch()
    torch.save(dict(state_dict={}, meta={}), 'empty.pth')
    torch.save(dict(model={}), 'weights.pth')
    here = ('--data-root', 'coco')
    cases = (
        ('train', ['nosuch.py'], 'there is no config nosuch.py'),
        ('train', [MASK_RCNN, '--data-root', 'nowhere'], 'nowhere/annotations/instances_train2017.json'),
        ('train', [MASK_RCNN, '--cfg-options', 'trian_dataloader.batch_size=1'], 'did you mean train_dataloader'),
        ('train', [MASK_RCNN, *here, '--work-dir', 'run'], 'epoch_1.pth), which this one would write over'),
        ('train', [MASK_RCNN, *here, '--resume', 'nosuch.pth'], 'nosuch.pth: no such file'),
        ('train', [MASK_RCNN, *here, '--resume', 'weights.pth'], 'no state_dict, but model'),
        ('train', [MASK_RCNN, *here, '--vis', '-1'], '--vis -1'),
        ('test', [MASK_RCNN, 'nosuch.pth'], 'nosuch.pth: no such file'),
        ('test', [MASK_RCNN, 'empty.pth', '--dtype', 'bf16'], 'add --deploy'),
        ('test', [MASK_RCNN, 'empty.pth', '--out', 'figures.pkl'], 'give a name that ends in .json'),
        ('test', [MASK_RCNN, 'empty.pth', *here, '--per-class'], "--per-class is for segmentation's IoUMetric"),
        ('test', [MASK_RCNN, 'empty.pth', *here, '--dump', 'full'], '--dump full: it is there and not empty'),
    )
    before = sorted(tmp_path.rglob('*'))
    assert len(before) > len(cases)
    for tool, arguments, message in cases:
        assert message in ending(monkeypatch, tool, *arguments)
        assert sorted(tmp_path.rglob('*')) == before, message  # nothing was begun
    assert 'Traceback' not in ''.join(capsys.readouterr())


def test_a_checkpoint_of_another_model_is_not_tested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_ade(tmp_path / 'ade', 1, 1)
    torch.save(dict(state_dict=dict(weight=torch.ones(1)), meta={}), 'other.pth')
    message = ending(monkeypatch, 'test', SEM_FPN, 'other.pth', '--data-root', 'ade', '--out', 'figures.json')
    assert message.startswith('error: other.pth does not fit the model of this config')
    assert not (tmp_path / 'figures.json').exists()


class Intruder:
    def __reduce__(self):
        return os.mkdir, ('intruded',)


@pytest.fixture
def pretrained(tmp_path, monkeypatch) -> torch.nn.Module:
    """The backbone of net.py, which starts from weights.pth and trains for an iteration on shapes, all of it here."""
    monkeypatch.chdir(tmp_path)
    parent = REPO / 'tests/data/before_redesign.py'
    Path('net.py').write_text(
        f'_base_ = {str(parent)!r}\n'
        "model = dict(backbone=dict(init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='weights.pth')))\n"
        'train_cfg = dict(max_iters=1)\n'
    )
    assert call(monkeypatch, 'make_shapes', 'shapes', '--images', 10, '--size', 64) is None
    return MODELS.build({**Config.fromfile('net.py').model.backbone, 'init_cfg': None})


def test_trust_reaches_the_pretrained_weights(pretrained, monkeypatch):
    torch.save(dict(state_dict=pretrained.state_dict(), extra=Intruder()), 'weights.pth')
    command = ('net.py', '--data-root', 'shapes/ade', '--work-dir')
    message = ending(monkeypatch, 'train', *command, 'refused')
    assert 'weights.pth is refused' in message and '--trust-checkpoint' in message and not Path('intruded').exists()
    assert call(monkeypatch, 'train', *command, 'trusted', '--trust-checkpoint') is None
    assert Path('intruded').is_dir() and 'trust=True' in Path('trusted/net.py').read_text()


def test_a_config_that_resumes_by_itself(pretrained, monkeypatch):
    """MMEngine's `resume = True`, which also begins a run: from the pretrained weights."""
    with Path('net.py').open('a') as file:
        file.write('resume = True\n')
    weights = {f'backbone.{key}': value.data for key, value in randomize(pretrained).named_parameters()}
    torch.save(dict(state_dict=pretrained.state_dict()), 'weights.pth')
    options = ('--work-dir', 'run', '--cfg-options', 'optim_wrapper.optimizer.lr=0.0')
    command = ('net.py', '--data-root', 'shapes/ade', *options)
    assert call(monkeypatch, 'train', *command) is None
    begun = load(Path('run/iter_1.pth'))
    assert differences({key: begun['state_dict'][key] for key in weights}, weights) == []
    Path('weights.pth').unlink()
    assert call(monkeypatch, 'train', *command, 'train_cfg.max_iters=2') is None
    assert load(Path('run/iter_2.pth'))['meta']['seed'] == begun['meta']['seed']
    message = ending(monkeypatch, 'train', *command, 'load_from=nosuch.pth')
    assert 'nosuch.pth: no such file' in message
