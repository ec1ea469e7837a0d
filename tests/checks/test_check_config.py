"""One check before a run: one table, one error with everything that is wrong."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader

from mmiformer import checks
from mmiformer.checks import check_config, count_images, recipe
from mmiformer.checks.findings import Finding, raise_errors, table
from mmiformer.checks.recipe import (
    check_batch,
    check_norms,
    check_room,
    check_sampler,
    check_saving,
    check_schedule,
    check_start,
)
from mmiformer.datasets.sources import ADE20K, COCO, IMAGENET
from mmiformer.engine.config import import_toolbox, open_config
from mmiformer.errors import MissingFile, UserError
from mmiformer.hub import config_dir, get_config

TRAINING = ['train_dataloader', 'val_dataloader']
SHAPES = ('disc', 'square', 'triangle', 'star', 'ring', 'cross')


@pytest.fixture
def cfg(monkeypatch):
    """A config whose data is not looked at."""
    monkeypatch.setattr(checks, 'check_data', lambda *args: [])
    monkeypatch.setattr(checks, 'check_evaluator', lambda *args: [])
    return get_config('mask_rcnn/iformer_t_shapes')


def test_all_contradictions_at_once(cfg):
    cfg.val_dataloader.dataset.metainfo = dict(classes=SHAPES[::-1])
    cfg.model.roi_head.bbox_head.num_classes = 80
    cfg.model.roi_head.mask_head.num_classes = 80
    cfg.model.neck.in_channels = [48, 96, 192, 384]
    cfg.train_dataloader.dataset.pipeline[0].color_type = 'grayscale'
    with pytest.raises(UserError) as caught:
        check_config(cfg, TRAINING, training=True)
    said = str(caught.value)
    assert said.startswith('4 things are wrong:')
    for place in ('val_dataloader.dataset', 'model', 'train_dataloader.dataset', 'model.neck'):
        assert f'\n{place}: ' in said


def test_the_table(cfg, caplog):
    caplog.set_level('INFO', 'mmiformer')
    check_config(cfg, TRAINING, training=True)
    (said,) = caplog.messages
    assert caplog.records[0].levelname == 'INFO'
    assert '6 in train_dataloader.dataset, val_dataloader.dataset, test_dataloader.dataset: disc, square' in said
    assert 'heads for 6 classes: roi_head.bbox_head 6, roi_head.mask_head 6' in said
    assert 'warning' not in said and len(said.splitlines()) <= 12
    cfg.train_dataloader.batch_size = 2
    check_config(cfg, TRAINING, training=True)
    assert caplog.messages[-1].splitlines()[1].split()[0] == 'warning'


def test_a_table_is_in_columns_and_the_worst_comes_first():
    findings = [Finding('note', 'somewhere', 'as it is'), Finding('error', 'here', 'wrong', 'Mend it.')]
    assert table(findings).splitlines() == [
        '  error    here       wrong',
        '                      Mend it.',
        '  note     somewhere  as it is',
    ]
    with pytest.raises(UserError, match='^here: wrong\nMend it.$'):
        raise_errors(findings)


def test_only_one_process_looks(cfg, monkeypatch):
    cfg.model.neck.in_channels = [1]
    monkeypatch.setattr(checks, 'is_main_process', lambda: False)
    check_config(cfg, TRAINING)  # this one waits for what the main process found, here nothing
    monkeypatch.setattr(checks, 'broadcast_object_list', lambda found: found[0].append(Finding('error', 'x', 'y')))
    with pytest.raises(UserError, match='^x: y$'):
        check_config(cfg, TRAINING)


@pytest.fixture
def start(cfg, tmp_path, monkeypatch, caplog):
    """Start from a checkpoint of some classes; what is said of it."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', {'': lambda name, where: torch.load(name)})

    caplog.set_level('INFO', 'mmiformer')

    def begin(classes):
        cfg.load_from = str(tmp_path / 'weights.pth')
        torch.save(dict(state_dict={}, meta=dict(dataset_meta=dict(classes=classes))), cfg.load_from)
        caplog.clear()
        check_config(cfg, TRAINING, training=True)
        return [line for line in caplog.messages[-1].splitlines() if 'load_from' in line]

    return begin


def test_weights_to_start_from(start):
    assert start(SHAPES) == start(()) == start(('cat', 'dog')) == []  # heads of two classes do not fit, and stay
    (said,) = start(SHAPES[::-1])
    assert said.split()[0] == 'warning' and "label 0 is 'disc' and there 'cross'" in said


def test_weights_that_cannot_be_read(cfg, monkeypatch):
    def load(name, where):
        raise MissingFile('it is not there')

    monkeypatch.setattr(CheckpointLoader, '_schemes', {'': load})
    cfg.load_from = 'none.pth'
    with pytest.raises(UserError, match='^load_from: it is not there$'):
        check_config(cfg, TRAINING, training=True)
    check_config(cfg, ['test_dataloader'], {})


@pytest.mark.parametrize(
    ('source', 'path', 'number'),
    [
        (COCO, 'data/coco/annotations/instances_train2017.json', 118_287),
        (COCO, 'instances_val2017.json', 5000),
        (ADE20K, 'data/ade/ADEChallengeData2016/images/training', 20_210),
        (ADE20K, 'images/validation/', 2000),
        (IMAGENET, 'data/imagenet/train', 1_281_167),
        (COCO, 'mine.json', None),
        (IMAGENET, '', None),
    ],
)
def test_how_many_images_the_published_data_sets_have(source, path, number):
    assert source.count(path) == number


def test_images_against_the_published_data_set():
    assert count_images('train', 5000, 5000).level == count_images('train', 7, None).level == 'fact'
    few = count_images('train', 10, 5000)
    assert few.level == 'warning' and few.what.startswith('10 images, and the published data set has 5000')


# ------------------------------------------------------------------------------------------------------- broken data


@pytest.mark.parametrize(
    ('loader', 'share', 'settings', 'said'),
    [
        ('train', 0.01, {}, 'The training does without them'),
        ('train', 0.02, {}, None),
        ('train', 0.02, dict(limit=0.05), 'The training does without them'),
        ('train', 0.005, dict(limit=0), None),
        ('train', 0.005, None, None),
        ('val', 0.005, {}, None),
        ('val', 0.5, dict(skip_in_evaluation=True), 'The evaluation leaves them out'),
    ],
)
def test_a_run_does_without_a_few_broken_samples(cfg, loader, share, settings, said, monkeypatch, caplog):
    broken = Finding('error', f'{loader}_dataloader.dataset', 'broken', 'Restore them.', ('a.png',), share)
    monkeypatch.setattr(checks, 'check_data', lambda *args: [broken])
    cfg.setdefault('default_hooks', {})['broken_data'] = settings
    if said:
        check_config(cfg, TRAINING, training=True)
        assert f'Restore them. {said}' in caplog.text
    else:
        with pytest.raises(UserError, match='broken\nRestore them.'):
            check_config(cfg, TRAINING, training=True)


# ------------------------------------------------------------------------------------------------------------- batch


def levels(findings) -> list[str]:
    return [one.level for one in findings]


def test_batch_against_the_recipe():
    cfg = ConfigDict(train_dataloader=dict(batch_size=2), optim_wrapper=dict(), auto_scale_lr=dict(base_batch_size=16))
    (note,) = check_batch(cfg)
    assert note.level == 'warning' and 'batch of 16' in note.what and 'this run has 2' in note.what
    assert '2/16' in note.fix
    cfg.train_dataloader.batch_size = 16
    assert levels(check_batch(cfg)) == ['fact']
    cfg.train_dataloader.batch_size = 4
    cfg.optim_wrapper.accumulative_counts = 4
    assert levels(check_batch(cfg)) == ['fact']
    cfg.optim_wrapper.accumulative_counts = 1
    assert levels(check_batch(cfg)) == ['warning']
    cfg.auto_scale_lr.enable = True
    assert levels(check_batch(cfg)) == ['fact']
    del cfg['auto_scale_lr']
    assert levels(check_batch(cfg)) == ['fact']


def test_the_learning_rate_in_force():
    cfg = open_config(config_dir() / 'mask_rcnn/iformer_t_1x.py')  # 2e-4 for 16, and 2 images in one process
    (finding,) = check_batch(cfg)
    assert 'lr=2.5e-05' in finding.fix and '--auto-scale-lr' in finding.fix
    cfg.optim_wrapper.optimizer.lr = 2.5e-5  # as the fix says
    (finding,) = check_batch(cfg)
    assert finding.level == 'fact' and 'AdamW with a learning rate of 2.5e-05' in finding.what
    cfg.optim_wrapper.optimizer.lr, cfg.auto_scale_lr.enable = 2e-4, True
    (finding,) = check_batch(cfg)
    assert finding.level == 'fact' and 'AdamW with a learning rate of 2.5e-05' in finding.what
    cfg.auto_scale_lr.enable, cfg.optim_wrapper.accumulative_counts = False, 4
    (finding,) = check_batch(cfg)
    assert '2 images x 4 accumulated' in finding.what and finding.fix.startswith('Pass --cfg-options')
    cfg.auto_scale_lr.enable = True  # MMEngine then scales as if nothing were accumulated
    (finding,) = check_batch(cfg)
    assert (
        finding.level == 'warning' and 'learning rate of 2.5e-05 is not' in finding.what and 'lr=0.0001' in finding.fix
    )


def test_a_learning_rate_of_ones_own():
    cfg = open_config(config_dir() / 'mask_rcnn/iformer_t_1x.py')
    cfg.train_dataloader.batch_size = 16
    assert levels(check_batch(cfg)) == ['fact']
    cfg.optim_wrapper.optimizer.lr = 1e-3
    (finding,) = check_batch(cfg)
    assert finding.level == 'warning' and 'rate of 0.001 is not' in finding.what and 'lr=0.0002' in finding.fix
    cfg.optim_wrapper.optimizer.lr = 0.0
    (finding,) = check_batch(cfg)
    assert finding.level == 'warning' and 'rate of 0 is not' in finding.what and 'lr=0.0002' in finding.fix


# ------------------------------------------------------------------------------------------------------------ recipe


def test_a_schedule_that_ends_before_the_run(cfg):
    (finding,) = check_schedule(cfg)
    assert finding.level == 'fact'
    longer = 2 * cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters'))
    cfg.train_cfg.update({key: longer for key in ('max_epochs', 'max_iters') if key in cfg.train_cfg})
    (finding,) = check_schedule(cfg)
    assert finding.level == 'warning' and f'.end={longer}' in finding.fix
    number = int(finding.fix.split('.')[1])
    cfg.param_scheduler[number].end = longer
    assert levels(check_schedule(cfg)) == ['fact']
    cfg.param_scheduler = [dict(type='LinearLR', by_epoch='max_epochs' in cfg.train_cfg, end=1)]  # only a warm-up
    assert levels(check_schedule(cfg)) == ['fact']


@pytest.mark.parametrize(
    ('name', 'option', 'said'),
    [
        ('mask_rcnn/iformer_t_1x', dict(max_epochs=9), 'after 11 epochs, and the run has 9'),
        ('mask_rcnn/iformer_t_1x', dict(max_epochs=6), 'after 8, 11 epochs, and the run has 6'),
        ('sem_fpn/iformer_t_40k', dict(max_iters=20000), 'PolyLR ends after 40000 iterations, and the run after 20000'),
    ],
)
def test_a_schedule_that_ends_after_the_run(name, option, said):
    cfg = get_config(name)
    assert levels(check_schedule(cfg)) == ['fact']
    cfg.train_cfg.update(option)
    (finding,) = check_schedule(cfg)
    assert finding.level == 'warning' and said in finding.what and 'Set param_scheduler.' in finding.fix


def test_a_warm_up_that_ends_after_the_run(cfg):
    by_epoch = 'max_epochs' in cfg.train_cfg
    cfg.param_scheduler = [dict(type='LinearLR', by_epoch=by_epoch, end=500)]
    cfg.train_cfg.update(dict(max_epochs=10) if by_epoch else dict(max_iters=10))
    (finding,) = check_schedule(cfg)
    assert finding.level == 'warning' and finding.what.startswith('LinearLR ends after 500 ')


def test_epochs_without_an_end():
    cfg = get_config('sem_fpn/iformer_t_40k')
    assert cfg.train_dataloader.sampler.type == 'InfiniteSampler' and list(check_sampler(cfg)) == []
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3)
    (finding,) = check_sampler(cfg)
    assert finding.level == 'error' and 'sampler.type=DefaultSampler' in finding.fix


def test_a_run_that_saves_nothing():
    cfg = get_config('sem_fpn/iformer_t_40k')
    assert list(check_saving(cfg)) == []
    cfg.default_hooks.checkpoint.pop('by_epoch')  # MMEngine's default is after epochs
    (finding,) = check_saving(cfg)
    assert finding.level == 'warning' and finding.fix == 'Set default_hooks.checkpoint.by_epoch=False.'
    cfg.default_hooks.checkpoint = None
    assert levels(check_saving(cfg)) == ['warning']


def test_a_run_goes_on_with_the_batches_it_began_with():
    cfg = get_config('mask_rcnn/iformer_t_1x')
    begun = dict(meta=dict(epoch=1, iter=2, processes=1, cfg=cfg.pretty_text))
    assert levels(check_start(cfg, begun)) == ['fact']
    cfg.train_dataloader.batch_size = 4
    _, finding = check_start(cfg, begun)
    assert (
        finding.level == 'warning' and 'batches of 1 x 2 (processes x images), and goes on with 1 x 4' in finding.what
    )
    cfg.train_dataloader.batch_size, begun['meta']['processes'] = 2, 8
    assert levels(check_start(cfg, begun)) == ['fact', 'warning']


def test_frozen_statistics_need_weights(cfg):
    backbone = cfg.model.backbone
    backbone.init_cfg, backbone.norm_eval = dict(type='Pretrained', checkpoint='weights.pth'), True
    (finding,) = check_start(cfg, None)
    assert finding.level == 'fact' and 'weights.pth' in finding.what
    backbone.init_cfg = None
    (finding,) = check_start(cfg, None)
    assert finding.level == 'warning' and '--no-pretrained' in finding.fix
    assert levels(check_start(cfg, dict(meta=dict(epoch=1, iter=2)))) == ['fact']
    backbone.norm_eval = False
    assert levels(check_start(cfg, None)) == ['fact']


def test_batch_norms_on_single_images(cfg):
    cfg.model.backbone.norm_eval, cfg.train_dataloader.batch_size = False, 1
    assert levels(check_norms(cfg)) == ['warning']
    cfg.model.backbone.norm_eval = True
    assert levels(check_norms(cfg)) == ['fact']


@pytest.mark.parametrize(
    ('free', 'level'), [(1e12, 'fact'), (1e8, 'warning'), (1e7, 'error')], ids=['room', 'too many', 'none']
)
def test_room_for_checkpoints(free, level, monkeypatch, tmp_path):
    cfg = open_config(config_dir() / 'mask_rcnn/iformer_t_1x.py')
    monkeypatch.setattr(recipe, '_checkpoint_size', lambda cfg: 30_000_000)
    monkeypatch.setattr(recipe.shutil, 'disk_usage', lambda path: SimpleNamespace(free=free))
    cfg.work_dir = str(tmp_path / 'run')
    (finding,) = check_room(cfg, None)
    assert finding.level == level and finding.what.startswith('12 checkpoints of about')
    (finding,) = check_room(cfg, dict(meta=dict(epoch=10)))
    assert finding.what.startswith('2 checkpoints')
    cfg.default_hooks.checkpoint.max_keep_ckpts = 3
    (finding,) = check_room(cfg, None)
    assert finding.what.startswith('4 checkpoints')  # one is whole before another goes
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=1000)  # how many depends on the data
    assert [finding.what[:13] for finding in check_room(cfg, None)] == ['4 checkpoints']
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    (finding,) = check_room(cfg, None)
    assert finding.what.startswith('all checkpoints') and (finding.level == 'error') == (level == 'error')


def test_the_size_of_a_checkpoint():
    """By what a training saves."""
    cfg = open_config(Path(__file__).parents[1] / 'data/tiny_sem_fpn.py')
    import_toolbox(cfg)
    with MODELS.switch_scope_and_registry('mmseg') as registry:
        model = registry.build(cfg.model)
    optimizer = torch.optim.AdamW(model.parameters())
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if value.dim()]
    held = [*model.state_dict().values(), *model.state_dict().values(), *states]  # weights, averages
    assert recipe._checkpoint_size(cfg) == sum(value.nbytes for value in held)
