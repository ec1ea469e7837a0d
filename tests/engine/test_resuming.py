"""A run that is stopped and resumed ends as one that was never stopped, bit by bit."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope

from mmiformer.datasets.shapes import make_dataset
from mmiformer.engine.config import open_config
from mmiformer.engine.runner import WholeRunner
from mmiformer.engine.runs import find_checkpoint, read_checkpoint, settle_seed
from mmiformer.engine.stopping import Stopped

DATA = Path(__file__).parents[1] / 'data'
SCENES = dict(tiny_mask_rcnn='coco', tiny_sem_fpn='ade')


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('scenes')
    make_dataset(folder, 10, 64)
    return folder


class Interrupt(Hook):
    """Sends this process a signal during an iteration, or during the validation after it."""

    def __init__(self, iteration: int, number: int = signal.SIGTERM, validating: bool = False):
        self.iteration, self.number, self.validating = iteration, number, validating

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration and not self.validating:
            os.kill(os.getpid(), self.number)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration and self.validating:
            os.kill(os.getpid(), self.number)


def train(name: str, scenes: Path, work_dir: Path, *hooks: Hook, resume: str | None = 'auto', **options) -> dict:
    """Train as tools/train.py does; the content of the last checkpoint."""
    cfg = open_config(DATA / f'{name}.py', scenes / SCENES[name], options)
    cfg.work_dir, cfg.log_level = str(work_dir), 'ERROR'
    cfg.experiment_name = f'{work_dir.parent.name}_{work_dir.name}_{random.getrandbits(32)}'
    source = find_checkpoint(resume, work_dir)
    resumed = read_checkpoint(source) if source else None
    settle_seed(cfg, None if resumed else 3, resumed)
    cfg.load_from, cfg.resume = source and str(source), bool(source)
    runner = WholeRunner(cfg, resumed)
    for hook in hooks:
        runner.register_hook(hook)
    try:
        runner.train()
    finally:
        DefaultScope._instance_dict.clear()
    return read_checkpoint(find_checkpoint('auto', work_dir))


def differences(first: object, second: object, where: str = '') -> list[str]:
    """Where two nested structures of tensors and values differ."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [where]
    if isinstance(first, dict):
        if first.keys() != second.keys():
            return [f'{where}: keys']
        return [line for key in first for line in differences(first[key], second[key], f'{where}.{key}')]
    if isinstance(first, (list, tuple)):
        if len(first) != len(second):
            return [f'{where}: length']
        return [line for k in range(len(first)) for line in differences(first[k], second[k], f'{where}.{k}')]
    return [] if first == second else [where]


def state(checkpoint: dict) -> dict:
    return {key: checkpoint[key] for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')}


@pytest.fixture(scope='module', params=SCENES)
def uninterrupted(request, scenes, tmp_path_factory) -> tuple[str, dict]:
    return request.param, train(request.param, scenes, tmp_path_factory.mktemp(request.param))


def test_resumed_equals_uninterrupted(uninterrupted, scenes, tmp_path):
    """Stopped within an epoch, in a validation and at the end of an epoch, with and without workers."""
    name, whole = uninterrupted
    validated = 8 if name == 'tiny_mask_rcnn' else 6
    stops = ((Interrupt(3), 0), (Interrupt(validated, signal.SIGINT, validating=True), 2), (Interrupt(8), 0))
    for hook, workers in stops[: 2 if validated == 8 else 3]:
        with pytest.raises(Stopped) as stop:
            train(name, scenes, tmp_path, hook, **{'train_dataloader.num_workers': workers})
        assert stop.value.number == hook.number
        assert read_checkpoint(find_checkpoint('auto', tmp_path))['meta']['iter'] == hook.iteration
    assert differences(state(train(name, scenes, tmp_path)), state(whole)) == []
    assert not (tmp_path / 'interrupted.pth').exists()
