"""The configs of the embedded data set: they fit it, and train all of an iFormer from random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.nn.modules.batchnorm import _BatchNorm

from mmiformer.datasets.shapes import CLASSES, PALETTE
from mmiformer.engine.config import datasets, evaluators

CONFIGS = Path(__file__).parents[1] / 'configs'
NAMES = {'mask_rcnn': '1x', 'sem_fpn': '40k'}


def read(task: str) -> Config:
    return Config.fromfile(CONFIGS / task / 'iformer_t_shapes.py')


@pytest.fixture(params=NAMES)
def task(request) -> str:
    return request.param


def build(cfg: Config):
    init_default_scope(cfg.default_scope)
    if cfg.default_scope == 'mmdet':
        from mmdet.registry import MODELS
    else:
        from mmseg.registry import MODELS
    return MODELS.build(cfg.model)


def test_classes_are_those_of_the_data_set(task):
    cfg = read(task)
    background = () if task == 'mask_rcnn' else ('background',)
    found = list(datasets(cfg).values())
    assert len(found) == 3
    for dataset in found:
        assert dataset.metainfo.classes == (*background, *CLASSES)
        assert tuple(map(tuple, dataset.metainfo.palette))[len(background) :] == PALETTE
    roi_head = cfg.model.get('roi_head')
    heads = [roi_head.bbox_head, roi_head.mask_head] if roi_head else [cfg.model.decode_head]
    assert {head.num_classes for head in heads} == {len(background) + len(CLASSES)}


@pytest.mark.parametrize('end', ['', '/'])
def test_one_variable_moves_the_data(task, end, monkeypatch):
    """And those of COCO and ADE20K do not."""
    monkeypatch.setenv('COCO_ROOT', '/elsewhere')
    monkeypatch.setenv('ADE_ROOT', '/elsewhere')
    monkeypatch.delenv('SHAPES_ROOT', raising=False)
    layout = dict(mask_rcnn='coco', sem_fpn='ade')[task]
    assert {dataset.data_root for dataset in datasets(read(task)).values()} == {f'data/shapes/{layout}/'}
    monkeypatch.setenv('SHAPES_ROOT', f'/scenes{end}')
    cfg = read(task)
    assert {dataset.data_root for dataset in datasets(cfg).values()} == {f'/scenes/{layout}/'}
    files = {metric.get('ann_file') for metric in evaluators(cfg)}
    assert files == ({'/scenes/coco/annotations/instances_val2017.json'} if task == 'mask_rcnn' else {None})


def test_everything_trains_from_random_weights(task):
    cfg = read(task)
    assert cfg.model.backbone.init_cfg is None
    model = build(cfg).train()
    assert [info['channels'] for info in model.backbone.feature_info] == cfg.model.neck.in_channels
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert len(norms) > 50 and all(norm.training for norm in norms)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_evaluation_is_the_recipes(task):
    """How results are measured is no matter of the recipe: only data and sizes of pictures differ."""
    ours, recipe = read(task), Config.fromfile(CONFIGS / task / f'iformer_t_{NAMES[task]}.py')
    for key in ('val_evaluator', 'test_evaluator'):
        ours[key].pop('ann_file', None), recipe[key].pop('ann_file', None)
        assert ours[key] == recipe[key]
    if task == 'mask_rcnn':
        assert ours.model.test_cfg.rcnn == recipe.model.test_cfg.rcnn
    else:
        assert ours.model.test_cfg == recipe.model.test_cfg
    ours, recipe = (cfg.test_dataloader.dataset.pipeline for cfg in (ours, recipe))
    assert [step.type for step in ours] == [step.type for step in recipe]


def test_work_directories_differ():
    assert len({read(task).work_dir for task in NAMES}) == 2
