"""Changes of a training recipe that the command line offers, and the check that a run is the recipe."""

import ast
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size


def start_from_random(cfg: Config) -> str:
    """Let the backbone start from random weights, in place.

    Its batch norms must then train: with the frozen statistics of random weights all images look alike.

    Returns:
        What was changed.

    Raises:
        ValueError: The config's model has no `backbone`.
    """
    backbone = cfg.model.get('backbone')
    if backbone is None:
        raise ValueError(f'--no-pretrained: the model of {cfg.filename} has no `backbone`')
    cfg.model.pop('pretrained', None)
    backbone.init_cfg = None
    for key, off in (('norm_eval', False), ('frozen_stages', -1)):
        if key in backbone:
            backbone[key] = off
    return (
        '--no-pretrained: the backbone starts from random weights, and its batch norms train (norm_eval=False), '
        'since frozen statistics of random weights make all images look alike. This is not the released recipe.'
    )


def pretrained_file(cfg: Config) -> str | None:
    """The weight file that the config's iFormer starts from, as `checkpoint.locate` takes it; None for none."""
    backbone = cfg.model.get('backbone') or {}
    init = backbone.get('init_cfg')
    if backbone.get('type') != 'mmiformer.IFormer' or not isinstance(init, dict) or init.get('type') != 'Pretrained':
        return None
    return init.get('checkpoint')


def check_resumed(cfg: Config, checkpoint: dict) -> None:
    """See that a run goes on with the batch norms it began with, since `--no-pretrained` is easily left out.

    Args:
        cfg: The config, with the options of the command line.
        checkpoint: The checkpoint to resume from, which records the config it was trained with.

    Raises:
        ValueError: The batch norms of the backbone trained before and would be frozen now, or the other way round.
    """
    before = recorded_model(checkpoint).get('backbone', {})
    now = cfg.model.get('backbone', {})
    if before and bool(before.get('norm_eval')) != bool(now.get('norm_eval')):
        raise ValueError(
            f'--resume: the run began with norm_eval={before.get("norm_eval", False)} in its backbone and would go on '
            f'with norm_eval={now.get("norm_eval", False)}. '
            'Give --no-pretrained again if it began with it, else leave it out'
        )


def recorded_model(checkpoint: dict) -> dict:
    """The `model` of the config that MMEngine wrote into a checkpoint, read as data, without running it.

    Args:
        checkpoint: A checkpoint of MMEngine's.

    Returns:
        The dict; empty if the checkpoint records no config, or one that is not plain data.
    """
    try:
        for statement in ast.parse(checkpoint.get('meta', {}).get('cfg') or '').body:
            if isinstance(statement, ast.Assign) and statement.targets[0].id == 'model':
                return _read_literal(statement.value)
    except (SyntaxError, ValueError, AttributeError):
        pass
    return {}


def _read_literal(node: ast.expr) -> Any:
    """`ast.literal_eval` that also knows `dict(key=value)`, as MMEngine writes it."""
    if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'dict' and not node.args:
        return {keyword.arg: _read_literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_read_literal(item) for item in node.elts]
    return ast.literal_eval(node)


def use_amp(cfg: Config) -> None:
    """Train with automatic mixed precision, in place.

    Raises:
        ValueError: The config has an optimizer wrapper of its own, or there is no GPU, which MMEngine's needs.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind == 'AmpOptimWrapper':
        return
    if kind != 'OptimWrapper':
        raise ValueError(f"--amp goes with optim_wrapper.type='OptimWrapper', not {kind!r}")
    if not torch.cuda.is_available():
        raise ValueError("--amp needs a GPU: MMEngine's AmpOptimWrapper does not train on the CPU. Leave it out here")
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.loss_scale = 'dynamic'


def scale_lr(cfg: Config) -> None:
    """Scale the learning rate by the real batch over the recipe's, in place.

    Raises:
        ValueError: The config does not say its recipe's batch, or accumulates gradients, which MMEngine does not count.
    """
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ValueError(f'--auto-scale-lr: {cfg.filename} has no auto_scale_lr.base_batch_size')
    if cfg.optim_wrapper.get('accumulative_counts', 1) != 1:
        raise ValueError(
            '--auto-scale-lr: MMEngine does not count accumulated gradients (optim_wrapper.accumulative_counts) as '
            'part of the batch. Set optim_wrapper.optimizer.lr yourself'
        )
    cfg.auto_scale_lr.enable = True


def check_batch(cfg: Config) -> str | None:
    """What to say if the batch is not the recipe's and the learning rate does not follow it.

    Call it when the processes have been started, so that their number is known.
    """
    recipe = cfg.get('auto_scale_lr', {})
    base, processes = recipe.get('base_batch_size'), get_world_size()
    steps = cfg.optim_wrapper.get('accumulative_counts', 1)
    batch = processes * cfg.train_dataloader.get('batch_size', 1) * steps
    if base is None or batch == base or recipe.get('enable'):
        return None
    return (
        f'The learning rate is for a batch of {base}, and this run has {batch} ({processes} processes x '
        f'{batch // processes}): results will fall short of the published ones. '
        f'--auto-scale-lr scales it by {batch}/{base}.'
    )
