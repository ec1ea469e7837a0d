"""Joining the processes of a run, and what several of them need where there is no GPU."""

import json
import logging
import os
from datetime import timedelta
from math import inf
from pathlib import Path
from time import time

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed
from mmengine.utils.dl_utils import set_multi_processing

from ..errors import UserError
from .config import nodes

logger = logging.getLogger(__name__)

# Seconds that a process waits for the others until one of them counts as frozen, unless `env_cfg.dist_cfg.timeout` says
# otherwise. The longest wait of a healthy run is COCO's evaluation on rank 0: minutes, on a slow machine or disk more.
TIMEOUT = 1800

# What starts the processes -> variables that hold a process's rank, how many processes there are, and its local rank.
LAUNCHERS = {
    'none': (),
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


def join_processes(cfg: Config, launcher: str = 'none', local_rank: int = 0) -> None:
    """Join this process with the others that `launcher` started.

    The Runner would do so itself, but too late: :func:`~mmiformer.engine.runs.settle_run` tells why.

    Args:
        cfg: The config; its `launcher` is set, and without a GPU what :func:`fit_to_cpu` changes.
        launcher: One of `LAUNCHERS`; 'none' for a single process.
        local_rank: This process's local rank, where the launcher does not set `LOCAL_RANK`.

    Raises:
        UserError: `launcher` did not start this process, or it finds no GPU of its own, or cannot join the others, or
            the timeout of the config is no number of seconds.
    """
    cfg.launcher = launcher
    if launcher == 'pytorch':
        os.environ.setdefault('LOCAL_RANK', str(local_rank))
    local_rank = _read_local_rank(launcher)
    if launcher == 'none' or is_distributed():
        return
    os.environ['LOCAL_RANK'] = str(local_rank)  # the Runner reads it, and not every launcher sets it
    dist_cfg = {'backend': 'nccl', 'timeout': TIMEOUT, **cfg.get('env_cfg', {}).get('dist_cfg', {})}
    limit = dist_cfg['timeout']
    if not isinstance(limit, (int, float)) or not 0 < limit < inf:
        raise UserError(f'env_cfg.dist_cfg.timeout={limit!r} must be a positive number, of seconds')
    on_cpu = get_device() == 'cpu'
    if on_cpu:
        _check_cpu(launcher, dist_cfg['backend'])
    elif torch.cuda.is_available() and local_rank >= torch.cuda.device_count():
        raise UserError(
            f'process {local_rank} of this machine (from 0) has no GPU: torch finds {torch.cuda.device_count()}, with '
            f'CUDA_VISIBLE_DEVICES={os.environ.get("CUDA_VISIBLE_DEVICES", "")!r}. Start one process for each GPU'
        )
    set_multi_processing(**cfg.get('env_cfg', {}).get('mp_cfg', {}), distributed=True)
    try:
        if on_cpu:  # MMEngine's init_dist would call torch.cuda.set_device
            torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=limit))
        else:
            init_dist(launcher, **dist_cfg)
    except (RuntimeError, TimeoutError) as error:  # the second by torch 2.1
        where = ':'.join(os.environ.get(name, '?') for name in ('MASTER_ADDR', 'MASTER_PORT'))
        raise UserError(
            f'this process could not join the others at {where}: {str(error).splitlines()[0]}. '
            'On every machine MASTER_ADDR must be the address of the first one, and PORT the same port, free there'
        ) from error
    if on_cpu:
        fit_to_cpu(cfg)


def _read_local_rank(launcher: str) -> int:
    """This process's local rank, from the launcher's variable."""
    if launcher == 'none':
        if int(os.environ.get('WORLD_SIZE', 1)) > 1:
            raise UserError(
                f'this is one of {os.environ["WORLD_SIZE"]} processes (WORLD_SIZE), each of which would do the whole '
                'work alone: add --launcher pytorch, as tools/dist_train.sh does'
            )
        return 0
    missing = [name for name in LAUNCHERS[launcher] if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher {launcher} did not start this process: {", ".join(missing)} not set. '
            'Use tools/dist_*.sh or tools/slurm_*.sh, which set this option themselves'
        )
    return int(os.environ[LAUNCHERS[launcher][2]])


def _check_cpu(launcher: str, backend: str) -> None:
    """Check that several processes on the CPU are meant, and that the launcher can start them."""
    if launcher != 'pytorch':
        raise UserError(f'--launcher {launcher} needs GPUs, and torch finds none; on the CPU use tools/dist_train.sh')
    built_for_gpu = torch.version.cuda or torch.version.hip
    if built_for_gpu and backend != 'gloo':
        raise UserError(
            'torch finds no GPU, with '
            f'CUDA_VISIBLE_DEVICES={os.environ.get("CUDA_VISIBLE_DEVICES", "")!r}. If several processes on the CPU '
            'are meant, add --cfg-options env_cfg.dist_cfg.backend=gloo'
        )


def fit_to_cpu(cfg: Config) -> None:
    """Make a config run in several processes on the CPU, in place.

    MMEngine gives DistributedDataParallel a GPU, and torch has no SyncBN for the CPU.

    Args:
        cfg: The config; its `model_wrapper_cfg` and the norm layers of its `model` change.
    """
    cfg.env_cfg = {**cfg.get('env_cfg', {})}
    cfg.env_cfg.dist_cfg = {**cfg.env_cfg.get('dist_cfg', {}), 'backend': 'gloo'}
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = {**wrapper, **(cfg.get('model_wrapper_cfg') or {}), 'device_ids': None}
    cfg.pop('sync_bn', None)
    synced = [node for node in nodes(cfg.model) if node.get('type') in ('SyncBN', 'MMSyncBN')]
    for node in synced:
        node['type'] = 'BN'
    if synced:
        logger.warning('SyncBN does not run on the CPU: it became BN, which normalizes within each process.')


def tell_torchrun(reason: str) -> None:
    """Write the reason this process ends to where torchrun takes its summary from; without torchrun, do nothing."""
    if file := os.environ.get('TORCHELASTIC_ERROR_FILE'):
        # The format of torch's own ErrorHandler, which would write a traceback.
        Path(file).write_text(
            json.dumps(dict(message=dict(message=reason, extraInfo=dict(timestamp=str(int(time()))))))
        )
