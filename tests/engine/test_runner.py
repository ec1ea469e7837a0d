"""Seeds, resuming and strict loading, on a toy model and on the real ones."""

from __future__ import annotations

import shutil
import signal
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, init_default_scope
from torch import nn

from mmiformer import checkpoint
from mmiformer.engine.runner import WholeRunner, load_whole, speed_up
from mmiformer.engine.runs import find_checkpoint, read_checkpoint, settle_seed
from mmiformer.engine.saving import check_weights
from mmiformer.engine.stopping import Stopped
from mmiformer.errors import UserError
from mmiformer.models import IFormer

from ..helpers import TINY
from ..parity import released_state_dict

CONFIGS = Path(__file__).parents[2] / 'configs'
SIZE, BATCH = 7, 3  # so that an epoch does not end with a batch


@DATASETS.register_module()
class Numbers(BaseDataset):
    """The numbers below `SIZE`."""

    def load_data_list(self):
        return [dict(number=number) for number in range(SIZE)]


@MODELS.register_module()
class Sum(BaseModel):
    """Keeps the numbers it is trained on."""

    seen: list[int]

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.weight = nn.Parameter(torch.ones(1))
        self.seen = []

    def forward(self, number, sample_idx, mode):
        self.seen += [int(n) for n in number]
        return dict(loss=self.weight.sum() * sum(number))


@pytest.fixture
def cfg(tmp_path) -> Config:
    loader = dict(
        batch_size=BATCH,
        num_workers=0,
        sampler=dict(type='InfiniteSampler', shuffle=True),
        dataset=dict(type='Numbers'),
    )
    return Config(
        dict(
            model=dict(type='Sum'),
            work_dir=str(tmp_path),
            train_dataloader=loader,
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=4),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4)),
            log_level='ERROR',
        )
    )


def run(cfg: Config, name: str, *hooks: Hook) -> WholeRunner:
    """As tools/train.py does, with `--resume` where there is a checkpoint."""
    source = find_checkpoint('auto', Path(cfg.work_dir))
    resumed = read_checkpoint(source) if source else None
    settle_seed(cfg, None, resumed)
    cfg.load_from, cfg.resume = source and str(source), bool(source)
    cfg.experiment_name = f'{Path(cfg.work_dir).name}_{name}'  # MMEngine keeps one log for each name
    runner = WholeRunner(cfg, resumed)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    # Its workers end at once here, and not when the runner is collected, which waits five seconds for each.
    vars(runner.train_loop).pop('dataloader_iterator', None)
    return runner


def sample_order(seed: int, length: int) -> list[int]:
    """What an infinite shuffled sampler of this seed gives, from its definition."""
    generator, order = torch.Generator().manual_seed(seed), []
    while len(order) < length:
        order += torch.randperm(SIZE, generator=generator).tolist()
    return order[:length]


@pytest.mark.parametrize('workers', [0, 2])
def test_a_resumed_run_takes_the_samples_in_the_order_it_would_have(cfg, workers):
    cfg.train_dataloader.num_workers = workers
    first = run(cfg, 'first')
    seed = first.seed
    cfg.pop('randomness')  # no seed is given, neither time
    cfg.train_cfg.max_iters = 9
    second = run(cfg, 'second')
    assert second.seed == seed and second.iter == 9
    order = sample_order(seed, 9 * BATCH)
    assert first.model.seen == order[: 4 * BATCH]
    assert second.model.seen == order[4 * BATCH :]


def test_a_resumed_epoch_is_shuffled_as_it_would_have_been(cfg):
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    first = run(cfg, 'first')
    cfg.pop('randomness')
    cfg.train_cfg.max_epochs = 3
    second = run(cfg, 'second')
    epochs = [
        torch.randperm(SIZE, generator=torch.Generator().manual_seed(first.seed + epoch)).tolist() for epoch in range(3)
    ]
    assert first.model.seen == epochs[0] and second.model.seen == epochs[1] + epochs[2]


@pytest.mark.parametrize(
    'loop', [dict(type='EpochBasedTrainLoop', max_epochs=2), dict(type='IterBasedTrainLoop', max_iters=2)]
)
def test_data_that_make_no_batch(loop, cfg):
    """Else the run would be over at once, with nothing learned, or never."""
    cfg.train_dataloader.update(drop_last=True, batch_size=SIZE + 1, sampler=dict(type='DefaultSampler'))
    cfg.train_cfg = loop
    with pytest.raises(UserError, match=r'no batch. Reduce train_dataloader.batch_size'):
        run(cfg, loop['type'])


class Rates(Hook):
    """Notes the learning rate of each iteration."""

    def __init__(self):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates += runner.optim_wrapper.get_lr()['lr']


def rates(cfg: Config, name: str) -> list[float]:
    hook = Rates()
    run(cfg, name, hook)
    return hook.rates


def test_a_longer_schedule_is_the_configs(cfg, caplog):
    """After its end, where MMEngine's state would keep the last rate; by the closed form."""
    schedule = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2),
        dict(type='PolyLR', power=0.9, eta_min=1e-5, by_epoch=False, begin=2),  # to the end of the run
    ]

    def closed(iterations: int) -> list[float]:
        done = [step / (iterations - 3) for step in range(iterations - 2)]
        return [1e-4, 1e-3] + [1e-5 + (1e-3 - 1e-5) * (1 - share) ** 0.9 for share in done]

    cfg.param_scheduler = schedule
    first = rates(cfg, 'first')
    assert caplog.messages == []
    cfg.train_cfg.max_iters = 12
    second = rates(cfg, 'second')
    assert first == pytest.approx(closed(4))
    assert second == pytest.approx(closed(12)[4:])
    assert 'as if it had been: with a learning rate of' in caplog.text
    caplog.clear()
    run(cfg, 'third')
    assert 'as if it had been' not in caplog.text


def test_a_longer_schedule_by_epochs(cfg):
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.param_scheduler = [dict(type='MultiStepLR', milestones=[1], gamma=0.1, by_epoch=True)]
    assert rates(cfg, 'first') == pytest.approx([1e-3] * 3 + [1e-4] * 3)
    cfg.train_cfg.max_epochs = 4
    cfg.param_scheduler = [dict(type='MultiStepLR', milestones=[3], gamma=0.1, by_epoch=True)]
    assert rates(cfg, 'second') == pytest.approx([1e-3] * 3 + [1e-4] * 3)


def test_resuming_starts_at_once(cfg, monkeypatch):
    run(cfg, 'first')
    cfg.train_cfg.max_iters = 5
    loaded = []
    original = Numbers.__getitem__
    monkeypatch.setattr(Numbers, '__getitem__', lambda self, idx: loaded.append(idx) or original(self, idx))
    run(cfg, 'second')
    assert len(loaded) == BATCH  # not those of the iterations before


@MODELS.register_module()
class Deployable(Sum):
    """Its deploy form has a parameter of another shape; it predicts their mean."""

    def forward(self, number, sample_idx, mode):
        return [self.weight.mean()] if mode == 'predict' else super().forward(number, sample_idx, mode)

    def switch_to_deploy(self, dtype=None):
        self.weight = nn.Parameter(self.weight.detach().repeat(2))


@METRICS.register_module()
class Last(BaseMetric):
    """The last prediction."""

    def process(self, data_batch, data_samples):
        self.results += [sample.item() for sample in data_samples]

    def compute_metrics(self, results):
        return dict(last=results[-1])


@pytest.fixture
def validated(cfg) -> Config:
    """Epochs of three iterations, each with a validation whose figure falls."""
    cfg.merge_from_dict(
        dict(
            model=dict(type='Deployable'),
            train_cfg=dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3),
            val_dataloader=dict(cfg.train_dataloader, sampler=dict(type='DefaultSampler')),
            val_cfg=dict(),
            val_evaluator=dict(type='Last'),
            default_hooks=dict(
                checkpoint=dict(_delete_=True, type='CheckpointHook', interval=1, save_best='last', rule='less')
            ),
        )
    )
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    return cfg


class Fail(Hook):
    """Ends a run before an iteration, as a crash does."""

    def __init__(self, iteration: int):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            raise RuntimeError('crashed')


def test_a_schedule_that_follows_validations_goes_on(validated):
    """No validation counts twice, and none is forgotten."""
    plateau = dict(type='ReduceOnPlateauLR', monitor='last', rule='greater', patience=0)  # each but the first lowers it
    validated.param_scheduler = [plateau]
    whole = rates(validated, 'whole')
    assert whole == pytest.approx([1e-3] * 6 + [1e-4] * 3)
    validated.work_dir += '/resumed'
    for number, (crash, there) in enumerate([(5, 3), (7, 6), (8, 6)]):
        with pytest.raises(RuntimeError, match='crashed'):
            run(validated, f'crash_{number}', Fail(crash))
        assert read_checkpoint(find_checkpoint('auto', Path(validated.work_dir)))['meta']['iter'] == there
    assert rates(validated, 'rest') == pytest.approx(whole[6:])


def test_a_schedule_with_a_function_goes_on(cfg, caplog):
    cfg.param_scheduler = [dict(type='OneCycleLR', eta_max=0.1, total_steps=8, by_epoch=False)]
    cfg.train_cfg.max_iters = 8
    whole = rates(cfg, 'whole')
    assert len(set(whole)) == 8
    cfg.work_dir += '/resumed'
    with pytest.raises(RuntimeError, match='crashed'):
        run(cfg, 'crash', Fail(6))
    assert rates(cfg, 'rest') == whole[4:] and 'as if it had been' not in caplog.text


def test_the_best_checkpoint_of_another_folder_stays(validated):
    first = Path(validated.work_dir) / 'first'
    validated.work_dir = str(first)
    run(validated, 'first')
    assert (first / 'best_last_epoch_3.pth').is_file()
    moved = shutil.copytree(first, first.with_name('second'))
    validated.work_dir, validated.train_cfg.max_epochs = str(moved), 4
    run(validated, 'second')
    assert (first / 'best_last_epoch_3.pth').is_file()
    assert [path.name for path in moved.glob('best*')] == ['best_last_epoch_4.pth']


def test_a_new_schedule_counts_an_epoch_once(cfg):
    """Of a checkpoint of an epoch's last iteration, after which the epoch is not counted yet."""
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
    cfg.default_hooks.checkpoint.interval = 6
    cfg.param_scheduler = [dict(type='MultiStepLR', milestones=[1], gamma=0.1, by_epoch=True)]
    rates(cfg, 'first')
    assert read_checkpoint(find_checkpoint('auto', Path(cfg.work_dir)))['meta']['epoch'] == 1
    cfg.train_cfg.max_epochs = 4
    cfg.param_scheduler = [dict(type='MultiStepLR', milestones=[3], gamma=0.1, by_epoch=True)]
    assert rates(cfg, 'second') == pytest.approx([1e-3] * 3 + [1e-4] * 3)


@HOOKS.register_module()
class TwoValidations(EMAHook):
    """Validates the weights after their averages, as MMPretrain's hook does."""

    def after_val_epoch(self, runner, metrics=None):
        super().after_val_epoch(runner, metrics)
        for idx, batch in enumerate(runner.val_dataloader):
            runner.val_loop.run_iter(idx, batch)


def test_a_validation_of_ones_own_is_stopped_at_its_end(validated):
    class Stop(Hook):
        def before_val_iter(self, runner, batch_idx, data_batch=None):
            runner._signals.number = signal.SIGTERM

    validated.default_hooks.checkpoint.interval = 9
    validated.custom_hooks = [dict(type='TwoValidations', momentum=0.5)]
    with pytest.raises(Stopped):
        run(validated, 'stopped', Stop())
    saved = read_checkpoint(Path(validated.work_dir) / 'interrupted.pth')
    trained = saved['ema_state_dict']['module.weight'].item()  # MMEngine stores either in the other's place
    assert trained < saved['state_dict']['weight'].item() < 1


@pytest.mark.parametrize('gradients', [True, False])
def test_mmengines_warning_of_lost_gradients(gradients, cfg):
    cfg.optim_wrapper.accumulative_counts, cfg.train_cfg.max_iters, cfg.log_level = 3, 9, 'WARNING'
    with pytest.raises(RuntimeError, match='crashed'):
        run(cfg, 'first', Fail(5))
    path = find_checkpoint('auto', Path(cfg.work_dir))
    saved = read_checkpoint(path)
    assert saved['gradients']
    if not gradients:
        del saved['gradients']
        torch.save(saved, path)
    log = next(Path(run(cfg, 'second').log_dir).glob('*.log')).read_text()
    assert ('gradient of some iterations is lost' in log) != gradients


def test_nothing_that_is_not_finite_is_saved():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1), accumulative_counts=2)
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, work_dir='here')
    model[0].weight.grad = torch.full_like(model[0].weight, nan)
    check_weights(runner, 2)  # of a step that is done
    wrapper._inner_count = 3
    with pytest.raises(UserError, match=r'after iteration 3 \(gradient of 0.weight\)'):
        check_weights(runner, 3)
    model[0].weight.grad = None
    model[1].running_var.fill_(inf)
    with pytest.raises(UserError, match=r'1.running_var'):
        check_weights(runner, 3)


def test_a_program_in_a_checkpoint_is_not_run(cfg):
    """MMCV's checkpoints held their config, which MMEngine would run."""
    run(cfg, 'first')
    path, trap = find_checkpoint('auto', Path(cfg.work_dir)), Path(cfg.work_dir) / 'trap'
    saved = read_checkpoint(path)
    saved['meta']['config'] = f'open({str(trap)!r}, "w")'
    torch.save(saved, path)
    cfg.train_cfg.max_iters = 5
    assert run(cfg, 'second').iter == 5 and not trap.exists()
    cfg.load_from, cfg.resume, cfg.experiment_name = str(path), True, f'{trap.parent.name}_third'
    WholeRunner(cfg).train()  # as MMEngine is told to resume
    assert not trap.exists()


@pytest.mark.parametrize('deploy', [False, True])
def test_averaged_weights_are_tested_in_either_form(cfg, deploy):
    cfg.merge_from_dict(
        dict(
            model=dict(type='Deployable'),
            custom_hooks=[dict(type='EMAHook', momentum=0.5)],
            test_dataloader=dict(cfg.train_dataloader, sampler=dict(type='DefaultSampler')),
            test_cfg=dict(),
            test_evaluator=dict(type='Last'),
        )
    )
    trained = run(cfg, f'trained_{deploy}').model.weight.item()
    cfg.load_from = str(find_checkpoint('auto', Path(cfg.work_dir)))
    cfg.experiment_name = f'tested_{deploy}'
    tested = read_checkpoint(Path(cfg.load_from))
    runner = WholeRunner(cfg, tested, deploy)
    averaged = tested['state_dict']['weight'].item()
    assert averaged != trained
    assert runner.test() == dict(last=pytest.approx(averaged))
    assert runner.model.weight.numel() == 1 + deploy


def test_weights_of_another_model_are_named_with_averages_too(cfg):
    cfg.custom_hooks = [dict(type='EMAHook')]
    run(cfg, 'first')
    cfg.model.type, cfg.train_cfg.max_iters = 'Wider', 9
    with pytest.raises(
        UserError, match=r'iter_4.pth does not fit the model of this config: .*size mismatch for weight'
    ):
        run(cfg, 'second')


@MODELS.register_module()
class Wider(Sum):
    """Has other weights."""

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.weight = nn.Parameter(torch.ones(3))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            dict(optimizer=dict(_delete_=True, type='AdamW')),
            'another optimizer than AdamW: its state has no betas, eps',
        ),
        (dict(paramwise_cfg=dict(bias_lr_mult=2)), 'does not fit this config: .*parameter group'),
    ],
)
def test_state_of_another_optimizer(change, message, cfg):
    cfg.model.type = 'Two'
    run(cfg, 'first')
    cfg.merge_from_dict(dict(optim_wrapper=change, train_cfg=dict(max_iters=9)))
    with pytest.raises(UserError, match=f'--resume: .*iter_4.pth .*{message}'):
        run(cfg, 'second')


@pytest.mark.parametrize(
    'place',
    [
        'optimizer state',
        'optimizer param_groups',
        'optimizer param_groups 0',
        'message_hub log_scalars',
        'message_hub runtime_info',
        'param_schedulers',
        'param_schedulers 0',
        'ema_state_dict',
        'ema_state_dict steps',
    ],
)
def test_damaged_state(place, cfg):
    cfg.custom_hooks, cfg.param_scheduler = [dict(type='EMAHook')], [dict(type='ConstantLR', by_epoch=False)]
    run(cfg, 'first')
    path = find_checkpoint('auto', Path(cfg.work_dir))
    content = read_checkpoint(path)
    *outer, last = (int(key) if key.isdigit() else key for key in place.split())
    part = content
    for key in outer:
        part = part[key]
    part[last] = 'x'
    torch.save(content, path)
    with pytest.raises(UserError, match='iter_4.pth is damaged, or does not fit this config: '):
        run(cfg, 'second')


@MODELS.register_module()
class Two(Sum):
    """Has two parameters."""

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.norm = nn.LayerNorm(1)

    def forward(self, number, sample_idx, mode):
        return dict(loss=super().forward(number, sample_idx, mode)['loss'] + self.norm(torch.ones(1)).sum())


def test_a_finished_run_says_so(cfg, caplog):
    run(cfg, 'first')
    assert caplog.messages == []
    cfg.optim_wrapper.clip_grad = dict(max_norm=1.0)
    assert run(cfg, 'second').model.seen == []
    assert [message for message in caplog.messages if 'nothing left to train' in message]


def test_pretrained_weights_are_not_needed_to_resume(cfg):
    run(cfg, 'first')
    cfg.train_cfg.max_iters = 5
    cfg.model.init_cfg = dict(type='Pretrained', checkpoint='/is/gone.pth')
    assert run(cfg, 'second').iter == 5
    (Path(cfg.work_dir) / 'last_checkpoint').unlink()
    for path in Path(cfg.work_dir).glob('*.pth'):
        path.unlink()
    with pytest.raises(UserError, match='gone.pth'):
        run(cfg, 'anew')


def tiny(out: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, out, 1))


def test_a_checkpoint_is_loaded_whole_or_not_at_all():
    model, source = tiny(), tiny().state_dict()
    load_whole(model, {f'module.{key}': value for key, value in source.items()}, 'x.pth')
    assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())
    missing = {key: value for key, value in source.items() if not key.startswith('2.')}
    with pytest.raises(UserError, match=r'x.pth .*\(Sequential\). 2 keys of the model are missing: 2.weight'):
        load_whole(model, missing, 'x.pth')
    with pytest.raises(UserError, match='1 keys have no place in the model: 3.weight'):
        load_whole(model, {**source, '3.weight': torch.ones(1)}, 'x.pth')
    with pytest.raises(UserError, match='size mismatch for 2.weight'):
        load_whole(model, tiny(5).state_dict(), 'x.pth')
    load_whole(model, {key: value for key, value in source.items() if 'num_batches' not in key}, 'x.pth')


@pytest.mark.parametrize(('name', 'scope'), [('mask_rcnn/iformer_t_1x', 'mmdet'), ('sem_fpn/iformer_t_40k', 'mmseg')])
def test_a_released_dense_checkpoint_loads_whole(name, scope, tmp_path):
    """Heads of the toolbox, backbone under the released code's keys, MMEngine's file format."""
    init_default_scope(scope)
    if scope == 'mmdet':
        from mmdet.registry import MODELS
    else:
        from mmseg.registry import MODELS
    cfg = Config.fromfile(CONFIGS / f'{name}.py').model
    source, model = MODELS.build(cfg), MODELS.build(cfg)
    backbone = {f'backbone.{key}': value for key, value in released_state_dict('dense_t').items()}
    heads = {key: torch.randn_like(v) if v.is_floating_point() else v for key, v in source.state_dict().items()}
    heads = {key: value for key, value in heads.items() if not key.startswith('backbone.')}
    torch.save(dict(state_dict={**backbone, **heads}, meta={}), tmp_path / 'released.pth')

    load_whole(model, read_checkpoint(tmp_path / 'released.pth')['state_dict'], 'released.pth')
    state = model.state_dict()
    assert heads and all(torch.equal(state[key], value) for key, value in heads.items())
    stem = backbone['backbone.downsample_layers.0.0.c.weight']
    assert torch.equal(state['backbone.stem.0.conv.weight'], stem)
    with pytest.raises(UserError, match='missing'):
        load_whole(model, {**dict(list(backbone.items())[1:]), **heads}, 'released.pth')


def test_other_checkpoints_of_a_run_are_read_safely(cfg, tmp_path):
    """`load_from` goes through MMEngine, which by itself would run the file."""
    trap = tmp_path / 'trap'
    torch.save(dict(state_dict={}, evil=Trap(trap)), tmp_path / 'evil.pth')
    checkpoint.use_in_mmengine()
    settle_seed(cfg)
    cfg.load_from, cfg.resume, cfg.experiment_name = str(tmp_path / 'evil.pth'), False, f'{tmp_path.name}_evil'
    with pytest.raises(ValueError, match='refused'):
        WholeRunner(cfg).train()
    assert not trap.exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_backbone_takes_its_form(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, 'compile', lambda self, **options: compiled.append(self))
    model = nn.ModuleDict(dict(backbone=IFormer(TINY), head=nn.Linear(2, 2)))
    speed_up(model)
    assert not model['backbone'].deploy and not compiled
    speed_up(model, deploy=True, compile=True)
    assert model['backbone'].deploy and model['backbone'].stem in compiled and model['head'] not in compiled


@pytest.mark.parametrize('there', [True, False])
def test_bfloat16_where_the_processor_has_it(there, monkeypatch, caplog):
    monkeypatch.setattr('mmiformer.engine.runner.has_bf16', lambda: there)
    model = nn.ModuleDict(dict(backbone=IFormer(TINY).eval(), head=nn.Linear(2, 2)))
    speed_up(model, deploy=True, dtype=torch.bfloat16)
    assert {p.dtype for p in model['backbone'].parameters()} == {torch.bfloat16}
    assert model['head'].weight.dtype == torch.float32
    assert ['no bfloat16' in message for message in caplog.messages] == [True] * (not there)


@pytest.mark.parametrize('option', ['deploy', 'compile'])
def test_a_model_without_one_is_an_error(option):
    with pytest.raises(UserError, match=f'--{option}: '):
        speed_up(nn.Linear(2, 2), **{option: True})


def test_norms_that_do_not_fold_are_named():
    with pytest.raises(UserError, match=r'--deploy: stem\.0 .*GroupNorm'):
        speed_up(IFormer(TINY, norm_cfg=dict(type='GN', num_groups=4)), deploy=True)
