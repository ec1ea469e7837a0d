"""The configs against the released recipe, written out here once more, and against the toolboxes' own configs."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmiformer.published import PUBLISHED

CONFIGS = Path(__file__).parents[1] / 'configs'
CHANNELS = {  # Table 15
    't': [32, 64, 128, 256],
    's': [32, 64, 176, 320],
    'm': [48, 96, 192, 384],
    'l': [48, 96, 256, 384],
    'l2': [64, 128, 256, 512],
}
BOTH = [f'{task}/iformer_{arch}_{end}' for task, end in (('mask_rcnn', '1x'), ('sem_fpn', '40k')) for arch in CHANNELS]
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


@pytest.fixture(autouse=True)
def default_places(monkeypatch):
    monkeypatch.delenv('COCO_ROOT', raising=False)
    monkeypatch.delenv('ADE_ROOT', raising=False)


def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def toolbox(package: str, name: str) -> dict:
    """A config that the toolbox itself brings."""
    root = Path(importlib.util.find_spec(package).origin).parent
    return plain(Config.fromfile(root / '.mim' / 'configs' / name)._cfg_dict)


def plain(node):
    """Plain dicts and lists without `backend_args=None`, the toolboxes' default."""
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items() if (key, value) != ('backend_args', None)}
    return [plain(item) for item in node] if isinstance(node, (list, tuple)) else node


def build(cfg: Config) -> nn.Module:
    init_default_scope(cfg.default_scope)
    if cfg.default_scope == 'mmdet':
        from mmdet.registry import MODELS
    else:
        from mmseg.registry import MODELS
    return MODELS.build(cfg.model)


def test_there_are_these_configs():
    found = {str(path.relative_to(CONFIGS).with_suffix('')) for path in CONFIGS.glob('*/iformer_*_[14]*[xk].py')}
    assert found == set(BOTH)


@pytest.mark.parametrize('name', BOTH)
def test_backbone_and_neck(name):
    cfg = read(name)
    arch = name.split('_')[-2]
    backbone = plain(cfg.model.backbone)
    checkpoint = backbone['init_cfg'].pop('checkpoint')
    assert backbone == dict(
        type='mmiformer.IFormer', arch=arch, norm_eval=True, drop_path_rate=0.0, init_cfg=dict(type='Pretrained')
    )
    distilled = arch in ('m', 'l', 'l2')
    assert checkpoint == (f'iFormer_{arch}_distill.pth' if distilled else f'iFormer_{arch}.pth')
    published = PUBLISHED[checkpoint]
    assert (published.task, published.arch, published.distilled) == ('imagenet', arch, distilled)

    model = build(cfg).train()
    assert cfg.model.neck.in_channels == CHANNELS[arch] == [info['channels'] for info in model.backbone.feature_info]
    strides = [info['stride'] for info in model.backbone.feature_info]
    head = cfg.model.get('decode_head') or cfg.model.roi_head.bbox_roi_extractor
    assert list(head.get('feature_strides') or head.featmap_strides) == strides
    norms = [module for module in model.backbone.modules() if isinstance(module, _BatchNorm)]
    assert norms and not any(norm.training for norm in norms)
    assert all(parameter.requires_grad for norm in norms for parameter in norm.parameters())


@pytest.mark.parametrize('name', BOTH)
def test_first_line_says_score_and_command(name):
    first = (CONFIGS / f'{name}.py').read_text().splitlines()[0]
    assert first.endswith(f' tools/dist_train.sh configs/{name}.py 8')
    task, arch = 'coco' if 'mask_rcnn' in name else 'ade20k', name.split('_')[-2]
    assert f'iFormer-{arch.upper()}' in first
    scores = [file.result for file in PUBLISHED.values() if (file.task, file.arch) == (task, arch)]
    named = {
        metric.replace(' ', '_'): float(value) for value, metric in re.findall(r'(\d\S*) (box AP|mask AP|mIoU)', first)
    }
    assert named == (scores[0] if scores else {}) and ('no published score' in first) == (not scores)


@pytest.mark.parametrize(
    ('bases', 'channels'),
    [
        (('models/mask_rcnn', 'datasets/coco_instance', 'schedules/1x', 'mmdet_runtime'), [64, 128, 256, 512]),
        (('models/sem_fpn', 'datasets/ade20k', 'schedules/40k', 'mmseg_runtime'), [64, 128, 256, 512]),
    ],
)
def test_bases_take_any_backbone(bases, channels, tmp_path):
    """Nothing of an iFormer is left in it, and without a backbone the base is not complete."""
    backbone = dict(type='ResNet', depth=18, norm_cfg=dict(type='BN'))
    paths = [str(CONFIGS / '_base_' / f'{name}.py') for name in bases]
    (tmp_path / 'other.py').write_text(
        f'_base_ = {paths}\nmodel = dict(backbone={backbone}, neck=dict(in_channels={channels}))'
    )
    cfg = Config.fromfile(tmp_path / 'other.py')
    assert cfg.model.backbone == backbone
    maps = build(cfg).eval().extract_feat(torch.zeros(1, 3, 64, 64))
    assert [level.shape[1] for level in maps] == [256] * len(maps) and len(maps) >= 4


@pytest.mark.parametrize('name', BOTH)
def test_nothing_of_resnet_is_left(name):
    text = json.dumps(plain(read(name)._cfg_dict)).lower()
    words = ('resnet', '"depth"', '"style"', '"num_stages"', '"frozen_stages"', '"strides": [1', '"pretrained":')
    assert 'iformer' in text and not [word for word in words if word in text]


@pytest.mark.parametrize('arch', CHANNELS)
def test_mask_rcnn_is_mmdets(arch):
    ours = plain(read(f'mask_rcnn/iformer_{arch}_1x')._cfg_dict)
    mmdets = toolbox('mmdet', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
    backbone, in_channels = ours['model'].pop('backbone'), ours['model']['neck'].pop('in_channels')
    assert backbone['type'] == 'mmiformer.IFormer' and in_channels == CHANNELS[arch]
    mmdets['model'].pop('backbone'), mmdets['model']['neck'].pop('in_channels')
    assert ours['model'] == mmdets['model']
    mmdets['val_evaluator'].pop('format_only'), mmdets['test_evaluator'].pop('format_only')  # False, the default
    same = ('train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator', 'val_cfg')
    for key in (*same, 'test_cfg', 'train_cfg', 'auto_scale_lr', 'default_scope', 'env_cfg', 'data_root'):
        assert ours[key] == mmdets[key], key


@pytest.mark.parametrize('arch', CHANNELS)
def test_sem_fpn_is_mmsegs(arch):
    ours = plain(read(f'sem_fpn/iformer_{arch}_40k')._cfg_dict)
    mmsegs = toolbox('mmseg', 'sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py')
    for key in ('backbone', 'pretrained'):
        assert ours['model'].pop(key, None) != mmsegs['model'].pop(key)
    assert ours['model']['neck'].pop('in_channels') == CHANNELS[arch]
    mmsegs['model']['neck'].pop('in_channels')
    assert ours['model'] == mmsegs['model']
    assert ours['model']['decode_head']['num_classes'] == 150
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert ours[key]['dataset'].pop('data_root').rstrip('/') == mmsegs[key]['dataset'].pop('data_root')
        assert ours[key] == mmsegs[key], key
    assert ours['val_evaluator'] == ours['test_evaluator'] == mmsegs['val_evaluator']
    assert ours['default_scope'] == 'mmseg'


def test_data_of_mask_rcnn():
    """Facts of the recipe, written out."""
    cfg = read('mask_rcnn/iformer_m_1x')
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['Resize'].scale == (1333, 800) and steps['Resize'].keep_ratio and steps['RandomFlip'].prob == 0.5
    assert cfg.model.data_preprocessor.pad_size_divisor == 32
    assert all(cfg.model.data_preprocessor[key] == value for key, value in IMAGENET.items())
    test = {step.type: step for step in cfg.test_dataloader.dataset.pipeline}
    assert test['Resize'].scale == (1333, 800) and test['Resize'].keep_ratio and cfg.test_dataloader.batch_size == 1
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 16
    assert not cfg.auto_scale_lr.enable


def test_data_of_sem_fpn():
    cfg = read('sem_fpn/iformer_m_40k')
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['RandomResize'].scale == (2048, 512) and steps['RandomResize'].ratio_range == (0.5, 2.0)
    assert steps['RandomCrop'].crop_size == (512, 512) and steps['RandomCrop'].cat_max_ratio == 0.75
    assert 'PhotoMetricDistortion' in steps and steps['RandomFlip'].prob == 0.5
    assert cfg.model.data_preprocessor.size == (512, 512) and cfg.model.data_preprocessor.seg_pad_val == 255
    assert all(cfg.model.data_preprocessor[key] == value for key, value in IMAGENET.items())
    assert steps['LoadAnnotations'].reduce_zero_label
    test = {step.type: step for step in cfg.test_dataloader.dataset.pipeline}
    assert test['Resize'].scale == (2048, 512) and test['Resize'].keep_ratio and cfg.model.test_cfg.mode == 'whole'
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 32
    head = cfg.model.decode_head
    assert (head.channels, head.dropout_ratio, head.norm_cfg.type) == (128, 0.1, 'SyncBN')


def learning_rates(cfg: Config, iterations: int, epoch_length: int) -> list[float]:
    """The rate of each iteration, by running the config's own schedulers as the Runner does."""
    weight = nn.Conv2d(1, 1, 1)
    optimizer = build_optim_wrapper(weight, cfg.optim_wrapper).optimizer
    defaults = dict(optimizer=optimizer, epoch_length=epoch_length)
    schedulers = [PARAM_SCHEDULERS.build(scheduler, default_args=defaults) for scheduler in cfg.param_scheduler]
    rates = []
    for iteration in range(1, iterations + 1):
        rates.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            if not scheduler.by_epoch or iteration % epoch_length == 0:
                scheduler.step()
    return rates


@pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
def test_schedule_of_mask_rcnn():
    cfg = read('mask_rcnn/iformer_l_1x')
    assert (cfg.train_cfg.type, cfg.train_cfg.max_epochs) == ('EpochBasedTrainLoop', 12)
    rates = torch.tensor(learning_rates(cfg, 12 * 100, 100))
    warm = 2e-4 * torch.linspace(1e-6, 1, 500)
    torch.testing.assert_close(rates[:500], warm)
    expected = torch.cat([torch.full((300,), 2e-4), torch.full((300,), 2e-5), torch.full((100,), 2e-6)])
    torch.testing.assert_close(rates[500:], expected)


@pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
def test_schedule_of_sem_fpn():
    cfg = read('sem_fpn/iformer_l_40k')
    assert (cfg.train_cfg.type, cfg.train_cfg.max_iters) == ('IterBasedTrainLoop', 40000)
    rates = torch.tensor(learning_rates(cfg, 40000, 1), dtype=torch.float64)
    progress = torch.arange(40000, dtype=torch.float64) / 39999
    torch.testing.assert_close(rates, (2e-4 - 1e-6) * (1 - progress) ** 0.9 + 1e-6, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(('name', 'decay'), [('mask_rcnn/iformer_t_1x', 0.05), ('sem_fpn/iformer_t_40k', 1e-4)])
def test_optimizer(name, decay):
    cfg = read(name)
    model = build(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert type(wrapper.optimizer) is torch.optim.AdamW and wrapper.clip_grad_kwargs is None
    groups = wrapper.optimizer.param_groups
    assert sum(len(group['params']) for group in groups) == len(list(model.parameters()))
    settings = {(group['lr'], group['weight_decay'], tuple(group['betas'])) for group in groups}
    assert settings == {(2e-4, decay, (0.9, 0.999))}  # norms and biases too


@pytest.mark.parametrize('root', ['/some/where', '/some/where/'])
def test_one_setting_moves_the_data(root, monkeypatch):
    monkeypatch.setenv('COCO_ROOT', root)
    monkeypatch.setenv('ADE_ROOT', root)
    cfg = read('mask_rcnn/iformer_s_1x')
    for split in ('val', 'test'):
        assert cfg[f'{split}_evaluator'].ann_file == '/some/where/annotations/instances_val2017.json'
    for both in (cfg, read('sem_fpn/iformer_s_40k')):
        for split in ('train', 'val', 'test'):
            assert both[f'{split}_dataloader'].dataset.data_root == '/some/where/'


def test_data_is_below_the_current_directory_by_default():
    cfg = read('mask_rcnn/iformer_s_1x')
    assert cfg.val_evaluator.ann_file == 'data/coco/annotations/instances_val2017.json'
    cfg = read('sem_fpn/iformer_s_40k')
    assert cfg.train_dataloader.dataset.data_root == 'data/ade/ADEChallengeData2016/'
