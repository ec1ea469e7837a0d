from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config

from mmiformer.engine.recipe import (
    check_resumed,
    draw_validation,
    pretrained_files,
    recorded,
    scale_lr,
    start_from_random,
    trust_pretrained,
    use_amp,
    use_tensorboard,
)
from mmiformer.errors import UserError

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def cfg() -> Config:
    return Config.fromfile(CONFIGS / 'mask_rcnn' / 'iformer_t_1x.py')


def test_random_weights_let_the_batch_norms_train(cfg, caplog):
    cfg.model.backbone.frozen_stages = 2
    start_from_random(cfg)
    (note,) = caplog.messages
    backbone = cfg.model.backbone
    assert (backbone.init_cfg, backbone.norm_eval, backbone.frozen_stages) == (None, False, -1)
    assert 'norm_eval=False' in note and 'not the released recipe' in note
    cfg.model.pop('backbone')
    with pytest.raises(UserError, match='has no `backbone`'):
        start_from_random(cfg)


def test_the_weights_to_fetch(cfg):
    assert [Path(file).name for file in pretrained_files(cfg)] == ['iFormer_t.pth']
    cfg.model.backbone.type = 'ResNet'  # MMEngine fetches those of others
    assert pretrained_files(cfg) == []
    cfg.model.backbone = dict(type='mmiformer.IFormer', init_cfg=[dict(type='Constant', layer='Conv2d', val=0)])
    assert pretrained_files(cfg) == []
    start_from_random(cfg)
    assert pretrained_files(cfg) == []
    taught = Config.fromfile(CONFIGS / 'imagenet' / 'iformer_m_distill_300e.py')
    assert (
        pretrained_files(taught) == pretrained_files(taught, resumed=True) == [taught.model.teacher.init_cfg.checkpoint]
    )


def test_a_backbone_without_those_arguments_gets_none(cfg):
    cfg.model.backbone = dict(type='SomeNet', init_cfg=dict(type='Pretrained', checkpoint='x'))
    start_from_random(cfg)
    assert cfg.model.backbone == dict(type='SomeNet', init_cfg=None)


def test_amp(cfg, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(UserError, match='needs a GPU'):
        use_amp(cfg)
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    use_amp(cfg)
    use_amp(cfg)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')
    cfg.optim_wrapper.type = 'MyWrapper'
    with pytest.raises(UserError, match='MyWrapper'):
        use_amp(cfg)


def test_scaling_needs_the_batch_of_the_recipe(cfg):
    scale_lr(cfg)
    assert cfg.auto_scale_lr.enable
    cfg.pop('auto_scale_lr')
    with pytest.raises(UserError, match='base_batch_size'):
        scale_lr(cfg)


def test_auto_scale_lr_does_not_go_with_accumulated_gradients(cfg):
    cfg.optim_wrapper.accumulative_counts = 4
    with pytest.raises(UserError, match='accumulative_counts'):
        scale_lr(cfg)


def test_the_recorded_model_is_read_without_running_it(cfg, tmp_path):
    trap = tmp_path / 'trap'
    model = recorded(dict(meta=dict(cfg=cfg.pretty_text)), 'model')
    assert model['backbone'] == cfg.model.backbone.to_dict()
    assert model['test_cfg']['rcnn']['nms'] == dict(type='nms', iou_threshold=0.5)
    assert recorded(dict(meta=dict(cfg=cfg.pretty_text)), 'model', 'backbone') == model['backbone']
    tampered = [
        f'model = open({str(trap)!r}, "w")',
        'model = dict(',
        '',
        'x = 1',
        'model = dict(backbone=5)',
        'model = 5',
    ]
    tampered += [
        'model = ' + '-' * 5000 + '1',
        'model = ' + '-' * 100000 + '1',
        'model = {[]: 1}',
        'model = \0',
        5,
        [5],
    ]
    for text in tampered:
        assert recorded(dict(meta=dict(cfg=text)), 'model', 'backbone') == {}
    assert recorded({}, 'model') == {} and not trap.exists()


def left_by(cfg: Config | None = None, **more) -> dict:
    """A checkpoint as a training leaves it, without weights."""
    meta = dict(epoch=1, iter=2, **(dict(cfg=cfg.pretty_text) if cfg else {}))
    return dict(meta=meta, state_dict={}, optimizer={}, message_hub={}, **more)


@pytest.mark.parametrize('key', ['epoch', 'iter', 'epoch_iter'])
@pytest.mark.parametrize('value', [None, 'x', -1, 1.5, []])
def test_a_damaged_count(key, value, cfg):
    checkpoint = left_by(cfg)
    checkpoint['meta'][key] = value
    with pytest.raises(UserError, match='its epoch or iteration is no number'):
        check_resumed(cfg, checkpoint)


def test_a_run_goes_on_with_the_norms_it_began_with(cfg):
    frozen = left_by(cfg)
    check_resumed(cfg, frozen)
    start_from_random(cfg)
    with pytest.raises(UserError, match='began with norm_eval=True .* go on with norm_eval=False'):
        check_resumed(cfg, frozen)
    check_resumed(cfg, left_by(cfg))
    check_resumed(cfg, left_by())


def test_a_run_goes_on_with_the_optimizer_it_began_with(cfg, caplog):
    begun = left_by(cfg)
    cfg.optim_wrapper.optimizer.betas = (0.9, 0.99)  # not recorded
    check_resumed(cfg, begun)
    assert caplog.messages == []
    cfg.optim_wrapper.optimizer.lr = 1.0
    check_resumed(cfg, begun)
    (note,) = caplog.messages
    assert 'the new lr of optim_wrapper.optimizer has no effect' in note
    cfg.optim_wrapper.optimizer.type = 'SGD'
    with pytest.raises(UserError, match='began with the optimizer AdamW and would go on with SGD.*load_from'):
        check_resumed(cfg, begun)


def test_a_run_goes_on_averaging(cfg):
    averaged = left_by(cfg, ema_state_dict={})
    with pytest.raises(UserError, match='began with EMAHook'):
        check_resumed(cfg, averaged)
    cfg.custom_hooks = [dict(type='EMAHook')]
    check_resumed(cfg, averaged)


@pytest.mark.parametrize('part', ['optimizer', 'message_hub', 'epoch', 'iter', 'meta'])
def test_weights_alone_are_not_resumed(part, cfg):
    stripped = left_by(cfg)
    for place in (stripped, stripped['meta']):
        place.pop(part, None)
    with pytest.raises(UserError, match=f'it has no .*{part.replace("meta", "epoch, iter")}.*load_from=CHECKPOINT'):
        check_resumed(cfg, stripped)


def visualized() -> Config:
    return Config(dict(visualizer=dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])))


def test_tensorboard_is_added_once(monkeypatch):
    module = ModuleType('torch.utils.tensorboard')
    module.SummaryWriter = object
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', module)
    cfg = visualized()
    use_tensorboard(cfg)
    use_tensorboard(cfg)
    assert [backend.type for backend in cfg.visualizer.vis_backends] == ['LocalVisBackend', 'TensorboardVisBackend']


def test_tensorboard_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    cfg = visualized()
    with pytest.raises(UserError, match='--tensorboard needs .* pip install tensorboard'):
        use_tensorboard(cfg)
    assert len(cfg.visualizer.vis_backends) == 1


def test_validation_pictures(cfg):
    draw_validation(cfg, 0)
    assert not cfg.get('custom_hooks')
    cfg.custom_hooks = [dict(type='EMAHook')]
    draw_validation(cfg, 3)
    assert cfg.custom_hooks == [dict(type='EMAHook'), dict(type='mmiformer.ValidationPictures', number=3)]
    with pytest.raises(UserError, match='--vis -1'):
        draw_validation(cfg, -1)


def test_trust_reaches_the_weights_of_the_projects_networks_alone(cfg):
    pretrained = dict(type='Pretrained', checkpoint='x.pth')
    cfg.model.teacher = dict(type='mmiformer.IFormer', init_cfg=[dict(type='Constant', val=0), dict(pretrained)])
    cfg.model.roi_head.init_cfg = dict(pretrained)
    trust_pretrained(cfg)
    assert cfg.model.backbone.init_cfg.trust and cfg.model.roi_head.init_cfg == pretrained
    assert cfg.model.teacher.init_cfg == [dict(type='Constant', val=0), dict(pretrained, trust=True)]
    cfg.model.backbone.init_cfg = None
    trust_pretrained(cfg)
