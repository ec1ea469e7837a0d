"""A run that is stopped and resumed ends as one that was never stopped, bit by bit."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from torch.utils.data import BatchSampler

from mmiformer.datasets.shapes import make_dataset
from mmiformer.engine.config import open_config
from mmiformer.engine.loops import NumberedBatches, seed_all
from mmiformer.engine.lost import lost_process
from mmiformer.engine.runner import WholeRunner
from mmiformer.engine.runs import find_checkpoint, read_checkpoint, settle_seed
from mmiformer.engine.stopping import Stopped
from mmiformer.errors import UserError

from ..helpers import differences

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


class Figures(Hook):
    """Notes what is trained and validated."""

    def __init__(self):
        self.trained, self.validated = [], {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.trained.append(runner.iter + 1)

    def after_val_epoch(self, runner, metrics=None):
        self.validated[runner.iter] = metrics


@pytest.mark.parametrize('name', SCENES)
def test_a_validation_that_was_stopped_is_made_up_for(name, scenes, tmp_path):
    """That of the end too, after which there is nothing to train."""
    whole, resumed = Figures(), Figures()
    with pytest.raises(Stopped):
        train(name, scenes, tmp_path, whole, Interrupt(12, validating=True))
    train(name, scenes, tmp_path, resumed)
    assert whole.trained == list(range(1, 13)) and resumed.trained == []
    assert list(resumed.validated) == [12] and resumed.validated[12] and 12 not in whole.validated


def test_accumulated_gradients_are_in_a_checkpoint(scenes, tmp_path):
    """At the end of an iteration, in a validation, and in the regular ones, none of which is that of a step."""
    options = {'optim_wrapper.accumulative_counts': 5}
    whole = train('tiny_sem_fpn', scenes, tmp_path / 'whole', **options)
    for hook, last in ((Interrupt(3), 'interrupted'), (Interrupt(6, validating=True), 'interrupted')):
        with pytest.raises(Stopped):
            train('tiny_sem_fpn', scenes, tmp_path / 'run', hook, **options)
        assert read_checkpoint(tmp_path / 'run' / f'{last}.pth')['gradients']
    resumed = train('tiny_sem_fpn', scenes, tmp_path / 'run', **options)
    again = train('tiny_sem_fpn', scenes, tmp_path / 'again', resume=str(tmp_path / 'run/iter_8.pth'), **options)
    assert differences(state(resumed), state(whole)) == differences(state(again), state(whole)) == []
    assert 'gradients' not in whole  # the last iteration has a step


class Poison(Hook):
    """Makes the weights NaN before an iteration, or the loss alone infinite."""

    priority = 'VERY_HIGH'

    def __init__(self, *iterations: int, weights: bool = False):
        self.iterations, self.weights = iterations, weights

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.weights and runner.iter + 1 in self.iterations:
            next(runner.model.parameters()).data.fill_(float('nan'))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if not self.weights and runner.iter + 1 in self.iterations:
            outputs['decode.loss_ce'] = torch.tensor(float('inf'))


def test_a_loss_that_is_not_finite_stops_the_run(scenes, tmp_path):
    options = {'default_hooks.checkpoint.interval': 2, 'default_hooks.checkpoint.max_keep_ckpts': 1}
    with pytest.raises(UserError, match=r'iteration 4: .*loss.*=nan.*scenes.*/images/training/.*png') as error:
        train('tiny_sem_fpn', scenes, tmp_path, Poison(4, weights=True), **options)
    assert str(error.value).count('.png') == 2  # the batch
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_2.pth']
    patience = {'default_hooks.bad_loss': dict(patience=2)}
    with pytest.raises(UserError, match=r'iteration 8: decode.loss_ce=inf'):  # 4 alone does not
        train('tiny_sem_fpn', scenes, tmp_path, Poison(4, 7, 8), **options, **patience)
    assert find_checkpoint('auto', tmp_path).name == 'iter_6.pth'
    with pytest.raises(UserError, match=r'weights are NaN or infinite after iteration 8'):  # patience saves no NaN
        train(
            'tiny_sem_fpn',
            scenes,
            tmp_path,
            Poison(7, weights=True),
            **options,
            **{'default_hooks.bad_loss': dict(patience=9)},
        )
    assert find_checkpoint('auto', tmp_path).name == 'iter_6.pth'


def test_a_full_disk_leaves_the_last_checkpoint(scenes, tmp_path, monkeypatch):
    options = {'default_hooks.checkpoint.interval': 2, 'default_hooks.checkpoint.max_keep_ckpts': 1}
    put, limit = LocalBackend.put, 1

    def put_on_full_disk(self, content, path):
        nonlocal limit
        if limit == 0:
            put(self, content[: len(content) // 2], path)
            raise OSError(28, 'No space left on device')
        limit -= 1
        put(self, content, path)

    monkeypatch.setattr(LocalBackend, 'put', put_on_full_disk)
    with pytest.raises(UserError, match=r'iter_4.pth cannot be written: No space left.*last good checkpoint stays'):
        train('tiny_sem_fpn', scenes, tmp_path, **options)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_2.pth']
    assert find_checkpoint('auto', tmp_path).name == 'iter_2.pth'
    monkeypatch.undo()
    (tmp_path / '.iter_4.1.part.pth').write_bytes(b'of a killed run')
    train('tiny_sem_fpn', scenes, tmp_path, **options)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_12.pth']


class KillWorker(Hook):
    """Kills a process that loads data, as a system without memory does."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 2:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)


@pytest.mark.parametrize('name', SCENES)
def test_a_worker_that_is_killed(name, scenes, tmp_path):
    began = time.monotonic()
    with pytest.raises(RuntimeError, match='killed by signal|exited unexpectedly') as error:
        train(name, scenes, tmp_path, KillWorker(), **{'train_dataloader.num_workers': 2})
    assert time.monotonic() - began < 60
    assert re.match(
        r'a process that loads data is gone: DataLoader worker \(pid(\(s\))? \d+\).*', lost_process(error.value)
    )


@pytest.mark.parametrize('endless', [False, True])
def test_batches_go_on_anywhere(endless):
    def batches(skip: int, iteration: int = 0) -> list:
        numbered = NumberedBatches(BatchSampler(DefaultSampler(range(7), seed=5), 3, drop_last=False), endless)
        numbered.skip, numbered.iteration = skip, iteration
        return list(islice(numbered, 5))

    whole = batches(0)
    assert [number for number, _ in whole] == list(range(5 if endless else 3))
    assert batches(2)[:3] == whole[2:]
    if endless:
        order = [torch.randperm(7, generator=torch.Generator().manual_seed(5 + epoch)).tolist() for epoch in range(2)]
        assert [index for _, batch in whole for index in batch][:13] == sum(order, [])[:13]
    else:
        assert [number for number, _ in batches(2, 30)] == [32]


def test_seeds_follow_from_all_numbers():
    def draw(*numbers: int) -> tuple:
        seed_all(*numbers)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw(3, 0, 5) == draw(3, 0, 5)
    draws = [draw(*numbers) for numbers in ((3, 0, 5), (3, 0, 6), (3, 1, 5), (4, 0, 5), (3, 0, 5, 0), (3, 0, 5, 1))]
    assert all(len({drawn[k] for drawn in draws}) == len(draws) for k in range(3))


STOPPED = """
import os, runpy, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest may run in the background of a shell
from mmiformer.engine.stopping import StopHook
def before_train_iter(self, runner, batch_idx, data_batch=None):
    if runner.iter == 2:
        # The workers too, as a cluster does. They would take it otherwise from this process, which is their parent.
        subprocess.run(['kill', '-TERM', '--', f'-{os.getpgrp()}'], start_new_session=True, check=True)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)  # as torchrun passes it on
        if CTRL_C:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
StopHook.before_train_iter = before_train_iter
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.parametrize('ctrl_c', [False, True])
def test_a_signal_to_all_processes_of_a_run(ctrl_c, scenes, tmp_path):
    tool = Path(__file__).parents[2] / 'tools/train.py'
    command = [tool, DATA / 'tiny_sem_fpn.py', '--data-root', scenes / 'ade', '--work-dir', tmp_path / 'run']
    options = ['--cfg-options', 'train_dataloader.num_workers=2']
    done = subprocess.run(
        [sys.executable, '-c', STOPPED.replace('CTRL_C', str(ctrl_c)), *map(str, command), *options],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=300,
    )
    assert done.returncode == (-signal.SIGINT if ctrl_c else 128 + signal.SIGTERM), done.stderr[-3000:]
    assert 'Traceback' not in done.stderr and done.stderr.count('Ctrl-C again stops at once') == 1
    files = [path.name for path in (tmp_path / 'run').glob('*.pth')]
    assert files == ([] if ctrl_c else ['interrupted.pth'])
    if not ctrl_c:
        assert shlex.join(['python', *map(str, command), *options, '--resume']) in done.stderr
