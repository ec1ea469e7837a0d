"""The examples: each builds, is made of what it says, trains for a step, and follows the recipe that it names."""

from __future__ import annotations

import importlib.util
import inspect
import json
import math
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmiformer.hub import get_config
from mmiformer.models import IFormer
from mmiformer.published import PUBLISHED

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / 'configs' / 'examples'
NAMES = sorted(path.stem for path in EXAMPLES.glob('*.py'))
SIZE = 64  # of the made images

# What keeps a training step on made images short; everything else is as in the example.
SMALL = {
    'cascade_mask_rcnn_iformer_m_1x_coco': {
        'train_cfg.rpn_proposal.max_per_img': 20,
        **{f'train_cfg.rcnn.{stage}.sampler.num': 8 for stage in range(3)},
        **{f'roi_head.bbox_head.{stage}.fc_out_channels': 32 for stage in range(3)},
    },
    'mask2former_iformer_m_50e_coco': {
        'data_preprocessor.batch_augments.0.size': (SIZE, SIZE),
        'panoptic_head.num_queries': 6,
        'panoptic_head.pixel_decoder.encoder.num_layers': 1,
        'panoptic_head.transformer_decoder.num_layers': 2,
        'train_cfg.num_points': 50,
    },
    'mask2former_iformer_m_160k_ade20k': {
        'data_preprocessor.size': (SIZE, SIZE),
        'decode_head.num_queries': 6,
        'decode_head.pixel_decoder.encoder.num_layers': 1,
        'decode_head.transformer_decoder.num_layers': 2,
        'decode_head.train_cfg.num_points': 50,
    },
    'segformer_head_iformer_m_160k_ade20k': {'data_preprocessor.size': (SIZE, SIZE)},
    'upernet_iformer_m_160k_ade20k': {'data_preprocessor.size': (SIZE, SIZE), 'decode_head.channels': 64},
}

# Whose optimizer, schedule and batch an example has: a config of a toolbox, or one of ours.
RECIPES = {
    'cascade_mask_rcnn_iformer_m_1x_coco': 'mask_rcnn/iformer_m_1x.py',
    'mask2former_iformer_m_160k_ade20k': 'mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py',
    'mask2former_iformer_m_50e_coco': 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    'retinanet_iformer_m_1x_coco': 'mmdet::pvt/retinanet_pvt-t_fpn_1x_coco.py',
    'rtmdet_iformer_m_100e_coco': 'mmdet::rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py',
    'segformer_head_iformer_m_160k_ade20k': 'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
    'upernet_iformer_m_160k_ade20k': (
        'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'
    ),
}


@cache
def read(name: str) -> Config:
    """An example, not to be changed."""
    return Config.fromfile(EXAMPLES / f'{name}.py')


@cache
def recipe(name: str) -> Config:
    """The config that an example's recipe is from, not to be changed."""
    package, _, path = RECIPES[name].rpartition('::')
    if not package:
        return Config.fromfile(ROOT / 'configs' / path)
    return Config.fromfile(Path(importlib.util.find_spec(package).origin).parent / '.mim' / 'configs' / path)


def plain(node):
    """Plain dicts and lists, without the scope that MMEngine notes in what a config of another package gave."""
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items() if key != '_scope_'}
    return [plain(item) for item in node] if isinstance(node, (list, tuple)) else node


@pytest.fixture(scope='module', params=NAMES)
def example(request) -> SimpleNamespace:
    """An example and its model, from random weights, built as MMEngine's Runner does for one process."""
    cfg = Config(read(request.param)._cfg_dict.to_dict())
    cfg.model.backbone.init_cfg = None
    cfg.merge_from_dict({f'model.{key}': value for key, value in SMALL.get(request.param, {}).items()})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = importlib.import_module(f'{cfg.default_scope}.registry').MODELS.build(cfg.model)
        return SimpleNamespace(name=request.param, cfg=cfg, model=revert_sync_batchnorm(model))


def test_there_are_these_examples():
    assert set(NAMES) == set(RECIPES) and len(NAMES) >= 7
    types = {(read(name).default_scope, plain(read(name).model)['type']) for name in NAMES}
    assert types >= {('mmdet', kind) for kind in ('RetinaNet', 'CascadeRCNN', 'RTMDet', 'Mask2Former')}
    heads = {read(name).model.decode_head.type for name in NAMES if 'decode_head' in read(name).model}
    assert heads == {'UPerHead', 'SegformerHead', 'Mask2FormerHead'}


@pytest.mark.parametrize('name', NAMES)
def test_nothing_of_another_backbone_is_left(name):
    cfg = read(name)
    backbone = plain(cfg.model.backbone)
    assert backbone.pop('type') == 'mmiformer.IFormer'
    assert backbone.keys() <= inspect.signature(IFormer).parameters.keys()
    assert backbone['arch'] == 'm' and backbone['norm_eval']
    published = PUBLISHED[backbone['init_cfg']['checkpoint']]
    assert (published.task, published.arch, published.distilled) == ('imagenet', 'm', True)
    text = json.dumps(plain(cfg._cfg_dict)).lower()
    words = ('resnet', 'torchvision://', 'open-mmlab://', 'cspnext-', '"depth"', '"style"', '"pretrained":')
    assert [word for word in words if word in text] == []
    assert 'custom_imports' not in cfg


@pytest.mark.parametrize('name', NAMES)
def test_images_are_normalized_as_the_weights_were_trained(name):
    preprocessor = plain(read(name).model.data_preprocessor)
    assert preprocessor['mean'] == [123.675, 116.28, 103.53] and preprocessor['std'] == [58.395, 57.12, 57.375]
    assert preprocessor['bgr_to_rgb'] is True


def test_channels_are_those_of_feature_info(example):
    backbone, cfg = example.model.backbone, example.cfg.model
    info = [backbone.feature_info[index] for index in backbone.out_indices]
    fed = cfg.get('neck') or cfg.get('panoptic_head') or cfg.decode_head
    assert list(fed.in_channels) == [stage['channels'] for stage in info]
    if 'auxiliary_head' in cfg:
        assert cfg.auxiliary_head.in_channels == info[cfg.auxiliary_head.in_index]['channels']
    if 'strides' in fed:
        assert list(fed.strides) == [stage['stride'] for stage in info]


def made_detection(cfg: Config, generator: np.random.Generator):
    """Two boxes of different sizes, with masks if the example's training pipeline loads masks."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    corners = np.array([[4, 8, 20, 40], [16, 10, 60, 50]], np.float32)
    masks = np.zeros((2, SIZE, SIZE), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, corners.astype(int), strict=True):
        mask[top:bottom, left:right] = 1
    sample = DetDataSample(
        metainfo=dict(img_id=1, img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
    )
    sample.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(torch.from_numpy(corners)),
        labels=torch.from_numpy(generator.integers(0, 80, 2)),
    )
    if any(step.get('with_mask') for step in cfg.train_dataloader.dataset.pipeline):
        sample.gt_instances.masks = BitmapMasks(masks, SIZE, SIZE)
    return sample


def made_segmentation(cfg: Config, generator: np.random.Generator):
    """A label map of four squares, with ignored pixels."""
    from mmseg.structures import SegDataSample

    labels = generator.integers(0, 150, (2, 2)).repeat(SIZE // 2, 0).repeat(SIZE // 2, 1)
    labels[:5] = 255
    sample = SegDataSample(metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE)))
    sample.gt_sem_seg = PixelData(data=torch.from_numpy(labels)[None])
    return sample


def calibrate(backbone: IFormer) -> None:
    """Give the batch norms statistics that fit, as those of pretrained weights do."""
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            module.train().momentum = 1.0
    with torch.no_grad():
        backbone(torch.randn(2, 3, SIZE, SIZE))


def test_a_training_step_runs_and_uses_every_parameter(example):
    cfg, model = example.cfg, example.model
    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    make = made_detection if cfg.default_scope == 'mmdet' else made_segmentation
    images = [torch.from_numpy(generator.integers(0, 256, (3, SIZE, SIZE), np.uint8)) for _ in range(2)]
    batch = dict(inputs=images, data_samples=[make(cfg, generator) for _ in images])

    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        calibrate(model.backbone)
        model.train()
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        gradients = {}
        for name, parameter in model.named_parameters():
            keep = lambda p, name=name: gradients.__setitem__(name, p.grad.abs().max().item())  # noqa: E731
            parameter.register_post_accumulate_grad_hook(keep)
        before = {name: parameter.detach().clone() for name, parameter in model.backbone.named_parameters()}
        losses = model.train_step(batch, optim_wrapper)

    losses = {name: loss.item() for name, loss in losses.items()}
    assert losses['loss'] > 0 and all(map(math.isfinite, losses.values())), losses
    assert [name for name, parameter in model.named_parameters() if name not in gradients] == []
    backbone = {name: value for name, value in gradients.items() if name.startswith('backbone.')}
    assert backbone and [name for name, value in backbone.items() if not 0 < value < math.inf] == []
    after = dict(model.backbone.named_parameters())
    assert [name for name, parameter in before.items() if torch.equal(parameter, after[name])] == []
    norms = [module for module in model.backbone.modules() if isinstance(module, _BatchNorm)]
    assert norms and not any(norm.training for norm in norms)


def rates(model: nn.Module, optim_wrapper: dict) -> dict[str, tuple]:
    """Learning rate and weight decay of each parameter."""
    optimizer = build_optim_wrapper(model, optim_wrapper).optimizer
    assert type(optimizer) is torch.optim.AdamW
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group['lr'], group['weight_decay'], tuple(group['betas']))
        for group in optimizer.param_groups
        for parameter in group['params']
    }


def schedule(cfg: Config) -> list[dict]:
    """The schedulers, but for where the warm-up starts: mmdet has 1e-3 of the rate, the released recipe 1e-6."""
    schedulers = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    return [{key: value for key, value in plain(one).items() if key != 'start_factor'} for one in schedulers]


def test_optimizer_schedule_and_batch_are_those_of_the_recipe_it_names(example):
    cfg, theirs = read(example.name), recipe(example.name)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        ours = rates(example.model, cfg.optim_wrapper)
        assert ours == rates(example.model, theirs.optim_wrapper)
    assert len(ours) == len(list(example.model.parameters()))
    assert cfg.optim_wrapper.get('clip_grad') == theirs.optim_wrapper.get('clip_grad')
    assert schedule(cfg) == schedule(theirs)
    for length in ('max_epochs', 'max_iters'):
        assert cfg.train_cfg.get(length) == theirs.train_cfg.get(length)
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size


@pytest.mark.parametrize('name', [name for name in NAMES if RECIPES[name].startswith('mmseg')])
def test_segmentors_are_mmsegs(name):
    ours, theirs = plain(read(name)._cfg_dict), plain(recipe(name)._cfg_dict)
    for model in (ours['model'], theirs['model']):
        model.pop('backbone')
        assert model.pop('pretrained', None) is None
        for head in ('decode_head', 'auxiliary_head'):
            model.get(head, {}).pop('in_channels', None)
    assert theirs['model'].pop('data_preprocessor').items() <= ours['model'].pop('data_preprocessor').items()
    assert ours['model'] == theirs['model']
    for loader in ('train_dataloader', 'val_dataloader'):
        assert ours[loader]['dataset']['pipeline'] == theirs[loader]['dataset']['pipeline']


def test_rtmdet_leaves_out_mosaic_at_the_end_as_its_recipe_does():
    name = 'rtmdet_iformer_m_100e_coco'
    for c in (read(name), recipe(name)):
        assert [hook.type for hook in c.custom_hooks] == ['EMAHook', 'PipelineSwitchHook']
        assert c.custom_hooks[1].switch_epoch == c.train_cfg.dynamic_intervals[0][0] == 90


# From any directory


@pytest.mark.parametrize('name', [name for name in NAMES if name.endswith('_coco')])
def test_a_copy_works_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLES / f'{name}.py', 'mine.py')
    assert Config.fromfile('mine.py')._cfg_dict == read(name)._cfg_dict


@pytest.mark.parametrize('name', ['upernet_iformer_m_160k_ade20k', 'retinanet_iformer_m_1x_coco'])
def test_a_dump_works_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    get_config(f'examples/{name}').dump('mine.py')
    assert plain(Config.fromfile('mine.py')._cfg_dict) == plain(read(name)._cfg_dict)


def test_mmseg_alone_finds_the_backbone_and_mmdet(tmp_path):
    """In a process where nothing but MMSegmentation was imported, from another directory."""
    code = """
import sys
# The toolboxes import them if they can; beside CPU torch only mmiformer makes that possible.
sys.modules.update(timm=None, mmpretrain=None)
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

cfg = Config.fromfile(sys.argv[1])
assert not {'mmiformer', 'mmdet'} & sys.modules.keys()
init_default_scope('mmseg')
print(type(MODELS.build(cfg.model).backbone).__module__)
"""
    path = EXAMPLES / 'mask2former_iformer_m_160k_ade20k.py'
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-W', 'ignore', '-c', code, str(path)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.split() == ['mmiformer.models.iformer'], done.stderr
