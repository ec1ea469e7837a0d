from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest
from mmengine.config import Config

from mmiformer.engine.config import KeyValues, fit_workers, merge_options, read_config, set_data_root

CONFIGS = Path(__file__).parents[2] / 'configs'
MASK_RCNN = CONFIGS / 'mask_rcnn' / 'iformer_t_1x.py'
SEM_FPN = CONFIGS / 'sem_fpn' / 'iformer_t_40k.py'


@pytest.fixture
def cfg() -> Config:
    return read_config(MASK_RCNN)


@pytest.mark.parametrize('name', ['configs/mask_rcn/iformer_t_1x.py', 'iformer_t_1.py', 'iformer_t_1x'])
def test_a_mistyped_config_is_answered_with_the_one_meant(name):
    with pytest.raises(FileNotFoundError, match='did you mean .*mask_rcnn/iformer_t_1x.py'):
        read_config(name)


def test_of_configs_with_one_name_that_of_the_task_comes_first():
    with pytest.raises(
        FileNotFoundError, match='did you mean [^ ]*mask_rcnn/iformer_t_shapes.py or .*sem_fpn/iformer_t'
    ):
        read_config('configs/mask_rcnn/iformer_t_shape.py')


def test_no_config_comes_near():
    with pytest.raises(FileNotFoundError) as error:
        read_config('/nowhere/quite_something_else.py')
    assert str(error.value) == 'there is no config /nowhere/quite_something_else.py'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model = dict(', 'SyntaxError'),
        ("_base_ = './nosuch.py'", 'FileNotFoundError'),
        ('model = dict(x=unknown)', 'NameError'),
        ('model = dict()', 'default_scope=None'),
        ("default_scope = 'mmpose'", "default_scope='mmpose'"),
    ],
)
def test_a_config_that_cannot_be_used(text, message, tmp_path):
    path = tmp_path / 'broken.py'
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_config(path)
    assert str(path) in str(error.value)


def test_options_are_applied(cfg):
    new = {'train_dataloader.batch_size': 7, 'param_scheduler.1.end': 3, 'model.test_cfg.rcnn.nms.iou_threshold': 0.6}
    assert merge_options(cfg, new) == []
    assert cfg.train_dataloader.batch_size == 7
    assert cfg.param_scheduler[1].end == 3 and cfg.param_scheduler[0].end == 500
    assert cfg.model.test_cfg.rcnn.nms == dict(type='nms', iou_threshold=0.6)
    assert merge_options(cfg, None) == []


def test_new_keys_are_allowed_and_named(cfg):
    notes = merge_options(cfg, {'optim_wrapper.clip_grad.max_norm': 1.0, 'randomness.seed': 3, 'compile': True})
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=1.0) and cfg.randomness.seed == 3 and cfg.compile
    assert len(notes) == 3 and "no 'clip_grad' in optim_wrapper" in notes[0]


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('trian_dataloader.batch_size', 'did you mean train_dataloader'),
        ('train_dataloader.bath_size', 'did you mean train_dataloader.batch_size'),
        ('model.test_cfg.rcnn.score_th', 'did you mean model.test_cfg.rcnn.score_thr'),
        ('train_dataloader.dataset.pipeline.2.scales', 'did you mean train_dataloader.dataset.pipeline.2.scale'),
        ('something', "the config has no 'something'; it has model, "),
        ('param_scheduler.2.end', "param_scheduler is a list of 2, '2' is none"),
        ('param_scheduler.first.end', "'first' is none"),
        ('log_level.x', "log_level is 'INFO', which has no keys"),
    ],
)
def test_slips_are_errors(cfg, key, message):
    before = cfg.pretty_text
    with pytest.raises(ValueError, match=message) as error:
        merge_options(cfg, {key: 1})
    assert key in str(error.value) and cfg.pretty_text == before


@pytest.mark.parametrize('argument', ['key', 'key=[1,2', 'key=(1,(2)'])
def test_an_option_that_is_no_pair_is_a_usage_error(argument, capsys):
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues)
    assert parser.parse_args(['--cfg-options', 'a=1', 'b.c=[1,x]']).cfg_options == {'a': 1, 'b.c': [1, 'x']}
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', argument])
    assert 'argument --cfg-options' in capsys.readouterr().err


@pytest.mark.parametrize('root', ['/data/coco', '/data/coco/'])
def test_data_root_moves_everything(cfg, root):
    set_data_root(cfg, root)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert (dataset.data_root, dataset.data_prefix.img[-5:]) == ('/data/coco/', '2017/')
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == '/data/coco/annotations/instances_val2017.json'


def test_data_root_of_wrapped_data_sets(monkeypatch):
    monkeypatch.delenv('ADE_ROOT', raising=False)
    cfg = read_config(SEM_FPN)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[inner, inner])
    )
    cfg.val_dataloader.dataset.data_root = 'data/ade/ADEChallengeData2016'  # the same place without its slash
    with pytest.raises(ValueError, match='not one'):
        set_data_root(cfg, '/data/ade')
    cfg.val_dataloader.dataset.data_root += '/'
    set_data_root(cfg, '/data/ade')
    roots = [part.data_root for part in cfg.train_dataloader.dataset.dataset.datasets]
    assert roots == ['/data/ade/'] * 2 and cfg.val_dataloader.dataset.data_root == '/data/ade/'


def test_data_root_that_is_unclear(cfg):
    cfg.train_dataloader.dataset.data_root = 'elsewhere/'
    with pytest.raises(ValueError, match='data_root .*elsewhere'):
        set_data_root(cfg, '/data')


def test_no_workers_are_no_persistent_workers(cfg):
    cfg.train_dataloader.num_workers = 0
    fit_workers(cfg)
    assert not cfg.train_dataloader.persistent_workers and cfg.val_dataloader.persistent_workers
