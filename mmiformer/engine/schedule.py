"""The schedule of a resumed run: the config's, even where it is not the one that the run began with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from .config import nodes

logger = logging.getLogger(__name__)

# What a scheduler records of where it stands; the rest is what it was built with.
PROGRESS = {'last_step', '_global_step', '_last_value', 'base_values', 'verbose'}
PROGRESS |= {'best', 'num_bad_epochs', 'cooldown_counter'}  # of ReduceOnPlateauLR


def settings(schedulers: Sequence[_ParamScheduler]) -> list[dict[str, Any]]:
    """What schedulers were built with."""
    return [_settings(scheduler.state_dict()) for scheduler in schedulers]


def _settings(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in PROGRESS and not callable(value)}


def leave_out_functions(checkpoint: dict[str, Any]) -> None:
    """Leave those of OneCycleLR out of a checkpoint, in place: a file that holds them is refused when it is read."""
    for state in nodes(checkpoint.get('param_schedulers')):
        for key in [key for key, value in state.items() if callable(value)]:
            del state[key]


def follow_config(runner, planned: list[dict[str, Any]], recorded: Sequence[dict[str, Any]]) -> None:
    """Let a resumed run go on with the config's schedule, as if it had been that from the start, in place.

    Args:
        runner: The runner, which has resumed a checkpoint and its schedulers.
        planned: :func:`settings` of the config's schedulers.
        recorded: The states of the schedulers in the checkpoint.
    """
    if planned == [_settings(state) for state in recorded]:
        return
    wrapper = runner.optim_wrapper
    follows_metrics = any(getattr(scheduler, 'need_val_args', False) for scheduler in runner.param_schedulers)
    if not isinstance(wrapper, OptimWrapper) or follows_metrics:
        logger.warning('--resume: the schedule in the config is new, and the run ends with the one that it began with.')
        return
    before = wrapper.get_lr()['lr'][0]
    for group in wrapper.param_groups:
        for key in [key for key in group if key.startswith('initial_')]:
            group[key.removeprefix('initial_')] = group[key]
    runner.param_schedulers = runner.build_param_scheduler(runner.cfg.param_scheduler)
    wrapper.optimizer._global_step = runner.iter  # schedulers warn if they step and it has not
    length = len(runner.train_dataloader)
    for iteration in range(1, runner.iter + 1):
        for scheduler in runner.param_schedulers:
            if not scheduler.by_epoch or iteration % length == 0 and iteration <= runner.epoch * length:
                scheduler.step()
    logger.warning(
        '--resume: the schedule in the config is not the one that the run began with. It goes on as if it had been: '
        f'with a learning rate of {wrapper.get_lr()["lr"][0]:.4g}, not {before:.4g}.'
    )
