"""Joining the processes of a run, and the backbone's gradients in two of them."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from mmiformer import get_config
from mmiformer.engine import launch
from mmiformer.engine.launch import LAUNCHERS, fit_to_cpu, join_processes
from mmiformer.errors import UserError
from mmiformer.models import IFormer

from ..helpers import TINY, randomize, relative_error

IMAGES = (4, 3, 96, 64)


@pytest.fixture(autouse=True)
def started_by_nobody(monkeypatch):
    monkeypatch.setattr(torch.version, 'cuda', None)  # whichever torch this is
    monkeypatch.setattr(os, 'environ', dict(os.environ))  # join_processes may change it
    for name in ('MASTER_ADDR', 'MASTER_PORT', *(name for names in LAUNCHERS.values() for name in names)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(launch, 'set_multi_processing', lambda **_: None)  # it changes this process


def started_by(monkeypatch, launcher: str, rank: int = 1, size: int = 2) -> None:
    for name, value in zip(LAUNCHERS[launcher], (rank, size, rank), strict=True):
        monkeypatch.setenv(name, str(value))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def network(out_indices: tuple[int, ...]) -> nn.Module:
    """A small iFormer with frozen batch norms, in float64, with several windows in stage 3."""
    model = IFormer(arch=TINY, out_indices=out_indices, window_size=4, norm_eval=True)
    return randomize(model).double().train()


def images() -> torch.Tensor:
    return torch.randn(IMAGES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def gradients(model: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a mean over the outputs, each by itself a mean over images, channels and pixels."""
    model.zero_grad()
    outputs = model(batch)
    (sum(output.square().mean() for output in outputs) / len(outputs)).backward()
    parameters = {name.removeprefix('module.'): parameter for name, parameter in model.named_parameters()}
    unused = [name for name, parameter in parameters.items() if parameter.grad is None]
    assert not unused, f'no gradient for {unused}'
    return {name: parameter.grad.clone() for name, parameter in parameters.items()}


def work_as_one_of_two(rank: int, port: int, folder: Path) -> None:
    """Half of the batch, as the Runner would have it; then a backbone of fewer outputs."""
    torch.set_num_threads(1)
    torch.version.cuda = None  # whichever torch this is
    numbers = dict(zip(LAUNCHERS['pytorch'], (rank, 2, rank), strict=True), MASTER_PORT=port)
    os.environ.update({name: str(value) for name, value in numbers.items()}, MASTER_ADDR='127.0.0.1')
    cfg = Config(dict(model=dict(), env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=60))))
    join_processes(cfg, 'pytorch')
    assert get_dist_info() == (rank, 2)
    for out_indices in ((0, 1, 2, 3), (0, 2)):
        module = network(out_indices)
        if rank:  # what DistributedDataParallel must overwrite with the other's
            nn.init.zeros_(module.stem[0].conv.weight)
        model = MODEL_WRAPPERS.build(cfg.model_wrapper_cfg, default_args=dict(module=module, device_ids=[rank]))
        assert isinstance(model, MMDistributedDataParallel) and not model.find_unused_parameters
        for _ in range(2):  # DistributedDataParallel complains of unused parameters in the second iteration
            found = gradients(model, images().chunk(2)[rank])
        torch.save(found, folder / f'{len(out_indices)}_{rank}.pth')
    torch.distributed.destroy_process_group()


def test_gradients_of_a_split_batch_are_those_of_the_whole(tmp_path):
    torch.multiprocessing.spawn(work_as_one_of_two, (free_port(), tmp_path), nprocs=2)
    for out_indices in ((0, 1, 2, 3), (0, 2)):
        expected = gradients(network(out_indices), images())
        half = gradients(network(out_indices), images().chunk(2)[0])
        assert len(expected) > 50 and all(gradient.abs().max() > 0 for gradient in expected.values())
        for rank in range(2):
            found = torch.load(tmp_path / f'{len(out_indices)}_{rank}.pth')
            assert list(found) == list(expected)
            largest = max(gradient.abs().max() for gradient in expected.values())
            for name, gradient in found.items():
                assert (gradient - expected[name]).abs().max() < 1e-12 * largest, name
                if expected[name].abs().max() > 1e-8 * largest:  # a key's shift has no effect, only rounding
                    assert relative_error(half[name], expected[name]) > 1e-4, name


def test_config_on_the_cpu(caplog):
    cfg = get_config('sem_fpn/iformer_t_40k')
    assert cfg.model.decode_head.norm_cfg.type == 'SyncBN'
    cfg.model.auxiliary_head = [dict(norm_cfg=dict(type='MMSyncBN', eps=1e-3))]
    cfg.sync_bn = 'torch'
    fit_to_cpu(cfg)
    (note,) = caplog.messages
    assert 'SyncBN' in note and 'sync_bn' not in cfg and cfg.env_cfg.dist_cfg == dict(backend='gloo')
    assert cfg.model.decode_head.norm_cfg == dict(type='BN', requires_grad=True)
    assert cfg.model.auxiliary_head[0].norm_cfg == dict(type='BN', eps=1e-3)
    assert cfg.model.backbone == get_config('sem_fpn/iformer_t_40k').model.backbone

    cfg = get_config('mask_rcnn/iformer_t_1x')
    cfg.find_unused_parameters, cfg.model_wrapper_cfg = True, dict(type='Custom', static_graph=True)
    fit_to_cpu(cfg)
    assert len(caplog.messages) == 1  # of the config before
    assert cfg.model_wrapper_cfg == dict(
        type='Custom', broadcast_buffers=False, find_unused_parameters=True, static_graph=True, device_ids=None
    )


def test_one_process_stays_alone(monkeypatch):
    cfg = get_config('sem_fpn/iformer_t_40k')
    join_processes(cfg)
    assert get_dist_info() == (0, 1)
    assert cfg.launcher == 'none' and cfg.model.decode_head.norm_cfg.type == 'SyncBN'
    monkeypatch.setenv('WORLD_SIZE', '4')
    with pytest.raises(UserError, match='one of 4 processes.*add --launcher pytorch'):
        join_processes(cfg)


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_launcher_that_did_not_start_this_process(launcher):
    with pytest.raises(UserError, match=f'--launcher {launcher} did not start .*{LAUNCHERS[launcher][1]}.* not set'):
        join_processes(Config(dict(model=dict())), launcher)


def test_gpus_that_are_not_there(monkeypatch):
    cfg = Config(dict(model=dict()))
    with monkeypatch.context() as patch:
        patch.setattr(launch, 'get_device', lambda: 'cpu')
        started_by(patch, 'slurm')
        with pytest.raises(UserError, match='--launcher slurm needs GPUs.*use tools/dist_train.sh'):
            join_processes(cfg, 'slurm')
        started_by(patch, 'pytorch')
        patch.setattr(torch.version, 'cuda', '12.6')
        with pytest.raises(UserError, match='torch finds no GPU.*env_cfg.dist_cfg.backend=gloo'):
            join_processes(cfg, 'pytorch')
    started_by(monkeypatch, 'pytorch', rank=2, size=4)
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '5,6')
    with pytest.raises(UserError, match="process 2 of this machine .* no GPU: torch finds 2, with .*'5,6'"):
        join_processes(cfg, 'pytorch')


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_mmengine_joins_processes_with_gpus(monkeypatch, launcher):
    joined = []
    started_by(monkeypatch, launcher)
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(launch, 'init_dist', lambda *args, **kwargs: joined.append((args, kwargs)))
    cfg = get_config('sem_fpn/iformer_t_40k')
    cfg.env_cfg.dist_cfg.timeout = 9
    join_processes(cfg, launcher)
    assert cfg.launcher == launcher
    assert joined == [((launcher,), dict(backend='nccl', timeout=9))] and os.environ['LOCAL_RANK'] == '1'
    assert cfg.model.decode_head.norm_cfg.type == 'SyncBN' and 'model_wrapper_cfg' not in cfg


@pytest.mark.parametrize(('timeout', 'waits'), [(None, 1800), (9, 9), ('9', 0), (0, 0), (float('inf'), 0)])
def test_how_long_processes_wait_for_each_other(monkeypatch, timeout, waits):
    joined = []
    started_by(monkeypatch, 'pytorch')
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend, timeout: joined.append(timeout))
    dist_cfg = {} if timeout is None else dict(timeout=timeout)
    cfg = Config(dict(model=dict(), env_cfg=dict(dist_cfg=dist_cfg)))
    if waits:
        join_processes(cfg, 'pytorch')
        assert joined == [timedelta(seconds=waits)]
    else:
        with pytest.raises(UserError, match='env_cfg.dist_cfg.timeout=.* positive number'):
            join_processes(cfg, 'pytorch')


def test_processes_that_do_not_find_each_other(monkeypatch):
    started_by(monkeypatch, 'pytorch')
    port = free_port()
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    monkeypatch.setenv('MASTER_PORT', str(port))
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    cfg = Config(dict(model=dict(), env_cfg=dict(dist_cfg=dict(timeout=1))))
    with pytest.raises(UserError, match=f'join the others at 127.0.0.1:{port}: .*MASTER_ADDR must'):
        join_processes(cfg, 'pytorch')
