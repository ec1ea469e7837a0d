"""What a config names and cannot be built is reported with its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmiformer.engine.building import building
from mmiformer.engine.config import open_config
from mmiformer.engine.runner import WholeRunner
from mmiformer.errors import UserError

from ..tools import oracle  # noqa: F401, whose models it registers
from ..tools.in_process import call
from ..tools.made_data import make_coco
from ..tools.test_train_and_test import MASK_RCNN, SEM_FPN, SMALL_COCO


@pytest.mark.parametrize(
    ('config', 'key', 'value', 'message'),
    [
        (MASK_RCNN, 'model.backbone.depth', 50, 'model.backbone: TypeError: .*depth'),
        (MASK_RCNN, 'model.backbone.arch', 'xl', "model.backbone: arch='xl'"),
        (MASK_RCNN, 'model.roi_head.bbox_head.type', 'Nope', 'model.roi_head.bbox_head: KeyError: Nope is not in'),
        (SEM_FPN, 'model.neck.in_channels', 32, r'model.neck: AssertionError: assert isinstance\(in_channels, list\)'),
        (SEM_FPN, 'model.decode_head.loss_decode.type', 'Nope', 'model.decode_head.loss_decode: KeyError: Nope'),
        (SEM_FPN, 'model.decode_head.channels', -1, 'model.decode_head: RuntimeError: .*negative dimension'),
    ],
)
def test_part_of_a_model(config, key, value, message):
    cfg = open_config(config, options={key: value})
    init_default_scope(cfg.default_scope)
    with pytest.raises(UserError, match=f'^{message}') as error, building(cfg, 'model'):
        MODELS.build(cfg.model)
    assert error.value.__cause__ is not None


def test_messages_for_users_stay_as_they_are():
    with pytest.raises(UserError, match='^no such file$'), building({}, 'model'):
        raise UserError('no such file')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(optim_wrapper=dict(optimizer=dict(lr='fast'))), 'optim_wrapper'),
        (dict(optim_wrapper=dict(clip_grad=dict(max=1))), 'optim_wrapper: TypeError: '),
        (dict(custom_hooks=['EMAHook']), 'custom_hooks or default_hooks: TypeError: '),
        (dict(train_dataloader=dict(sampler=dict(type='Nope'))), 'train_dataloader.sampler: KeyError: Nope'),
        (dict(train_dataloader=dict(dataset=dict(indices=0))), 'train_dataloader.dataset: no image is left'),
        (dict(val_evaluator=dict(metric=['box'])), 'val_evaluator: KeyError'),
        (dict(visualizer=dict(type='Nope')), 'visualizer: KeyError: Nope'),
        (
            dict(visualizer=dict(name='aim', vis_backends=[dict(type='AimVisBackend')])),
            'visualizer: ImportError: .*install aim',
        ),
        (dict(val_dataloader=None), 'config: val_dataloader, val_cfg, and val_evaluator should be either all None'),
        (dict(train_cfg=dict(max_epochs='many')), 'train_dataloader or train_cfg: '),
        (
            dict(default_hooks=dict(checkpoint=dict(save_best='x'))),
            'custom_hooks or default_hooks: Cannot infer the rule',
        ),
        (dict(custom_hooks=[dict(type='ProfilerHook', on_trace_ready=dict(type='nope'))]), '.*rofiler'),
        (dict(custom_hooks=[dict(type='EMAHook', begin_epoch=99)]), 'EMAHook: AssertionError'),
        (dict(custom_hooks=[dict(type='mmiformer.ValidationPictures', number=0)]), 'custom_hooks.0: number=0'),
        (dict(default_hooks=dict(logger=dict(every=3))), 'default_hooks.logger: TypeError: .*every'),
        (dict(param_scheduler=dict(_delete_=True, type='Nope')), 'param_scheduler: KeyError: Nope'),
    ],
)
def test_other_parts_of_a_training(change, message, tmp_path):
    make_coco(tmp_path / 'coco', list(CocoDataset.METAINFO['classes']), 1, 1)
    cfg = open_config(MASK_RCNN, tmp_path / 'coco')
    cfg.merge_from_dict(
        dict(
            model=dict(_delete_=True, type='OracleDetector'),
            train_dataloader=dict(num_workers=0, persistent_workers=False),
            work_dir=str(tmp_path),
            experiment_name=f'{tmp_path.name}_{message}',
            log_level='ERROR',
        )
    )
    cfg.merge_from_dict(change)
    with pytest.raises(UserError, match=f'^{message}'):
        WholeRunner(Config(cfg.to_dict())).train()


def test_the_command_line_prints_the_key_and_logs_the_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_coco(tmp_path / 'coco', list(CocoDataset.METAINFO['classes']), 1, 1)
    options = ('--no-pretrained', '--work-dir', 'run', '--cfg-options', *SMALL_COCO, 'model.neck.in_channel=3')
    said = call(monkeypatch, 'train', MASK_RCNN, '--data-root', 'coco', *options)
    assert 'did you mean model.neck.in_channels' in said

    options = (*options[:-1], 'model.neck.widths=3')
    said = call(monkeypatch, 'train', MASK_RCNN, '--data-root', 'coco', *options)
    (log,) = Path('run').glob('*/*.log')
    assert said.startswith('error: model.neck: TypeError: ') and said.endswith(
        f'\nThe traceback is in {log.absolute()}'
    )
    text = log.read_text()
    assert 'Traceback (most recent call last)' in text and "unexpected keyword argument 'widths'" in text
    assert "new, the config had no 'widths' in model.neck" in text and '--no-pretrained: the backbone starts' in text
