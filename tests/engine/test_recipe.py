from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmiformer.engine.recipe import (
    check_batch,
    check_resumed,
    pretrained_file,
    recorded_model,
    scale_lr,
    start_from_random,
    use_amp,
)

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def cfg() -> Config:
    return Config.fromfile(CONFIGS / 'mask_rcnn' / 'iformer_t_1x.py')


def test_random_weights_let_the_batch_norms_train(cfg):
    cfg.model.backbone.frozen_stages = 2
    note = start_from_random(cfg)
    backbone = cfg.model.backbone
    assert (backbone.init_cfg, backbone.norm_eval, backbone.frozen_stages) == (None, False, -1)
    assert 'norm_eval=False' in note and 'not the released recipe' in note
    cfg.model.pop('backbone')
    with pytest.raises(ValueError, match='has no `backbone`'):
        start_from_random(cfg)


def test_the_weights_to_fetch(cfg):
    assert pretrained_file(cfg).endswith('/iFormer_t.pth')
    cfg.model.backbone.type = 'ResNet'  # MMEngine fetches those of others
    assert pretrained_file(cfg) is None
    cfg.model.backbone = dict(type='mmiformer.IFormer', init_cfg=[dict(type='Constant', layer='Conv2d', val=0)])
    assert pretrained_file(cfg) is None
    start_from_random(cfg)
    assert pretrained_file(cfg) is None


def test_a_backbone_without_those_arguments_gets_none(cfg):
    cfg.model.backbone = dict(type='SomeNet', init_cfg=dict(type='Pretrained', checkpoint='x'))
    start_from_random(cfg)
    assert cfg.model.backbone == dict(type='SomeNet', init_cfg=None)


def test_amp(cfg, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='needs a GPU'):
        use_amp(cfg)
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    use_amp(cfg)
    use_amp(cfg)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')
    cfg.optim_wrapper.type = 'MyWrapper'
    with pytest.raises(ValueError, match='MyWrapper'):
        use_amp(cfg)


def test_batch_against_the_recipe(cfg):
    note = check_batch(cfg)
    assert 'batch of 16' in note and 'this run has 2' in note and '2/16' in note
    cfg.train_dataloader.batch_size = 16
    assert check_batch(cfg) is None
    cfg.train_dataloader.batch_size = 4
    cfg.optim_wrapper.accumulative_counts = 4
    assert check_batch(cfg) is None
    cfg.optim_wrapper.accumulative_counts = 1
    scale_lr(cfg)
    assert cfg.auto_scale_lr.enable and check_batch(cfg) is None


def test_scaling_needs_the_recipes_batch(cfg):
    cfg.pop('auto_scale_lr')
    assert check_batch(cfg) is None
    with pytest.raises(ValueError, match='base_batch_size'):
        scale_lr(cfg)


def test_auto_scale_lr_does_not_go_with_accumulated_gradients(cfg):
    cfg.optim_wrapper.accumulative_counts = 4
    with pytest.raises(ValueError, match='accumulative_counts'):
        scale_lr(cfg)


def test_the_recorded_model_is_read_without_running_it(cfg, tmp_path):
    trap = tmp_path / 'trap'
    model = recorded_model(dict(meta=dict(cfg=cfg.pretty_text)))
    assert model['backbone'] == cfg.model.backbone.to_dict()
    assert model['test_cfg']['rcnn']['nms'] == dict(type='nms', iou_threshold=0.5)
    for text in (f'model = open({str(trap)!r}, "w")', 'model = dict(', '', 'x = 1'):
        assert recorded_model(dict(meta=dict(cfg=text))) == {}
    assert recorded_model({}) == {} and not trap.exists()


def test_a_run_goes_on_with_the_norms_it_began_with(cfg):
    frozen = dict(meta=dict(cfg=cfg.pretty_text))
    check_resumed(cfg, frozen)
    start_from_random(cfg)
    with pytest.raises(ValueError, match='began with norm_eval=True .* go on with norm_eval=False'):
        check_resumed(cfg, frozen)
    check_resumed(cfg, dict(meta=dict(cfg=cfg.pretty_text)))
    check_resumed(cfg, dict(meta={}))
