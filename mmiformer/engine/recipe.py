"""Changes of a training recipe that the command line offers."""

import ast
import logging
from typing import Any

import torch
from mmengine.config import Config

from ..errors import UserError, few
from .config import kind, nodes

logger = logging.getLogger(__name__)


def start_from_random(cfg: Config) -> None:
    """Let the backbone start from random weights, in place.

    Its batch norms must then train: with the frozen statistics of random weights, all images look alike.

    Raises:
        UserError: The config's model has no `backbone`.
    """
    backbone = cfg.model.get('backbone')
    if backbone is None:
        raise UserError(f'--no-pretrained: the model of {cfg.filename} has no `backbone`')
    cfg.model.pop('pretrained', None)
    backbone.init_cfg = None
    for key, off in (('norm_eval', False), ('frozen_stages', -1)):
        if key in backbone:
            backbone[key] = off
    logger.warning(
        '--no-pretrained: the backbone starts from random weights, and its batch norms train (norm_eval=False), '
        'since frozen statistics of random weights make all images look alike. This is not the released recipe.'
    )


def trust_pretrained(cfg: Config) -> None:
    """Let the project's networks and a teacher unpickle anything that the files of their `init_cfg` hold, in place."""
    for node in nodes(cfg.model):
        if str(node.get('type')).startswith('mmiformer.') or node is cfg.model.get('teacher'):
            inits = node.get('init_cfg') or []
            for init in inits if isinstance(inits, (list, tuple)) else [inits]:
                if init.get('type') == 'Pretrained':
                    init['trust'] = True


def pretrained_files(cfg: Config, resumed: bool = False) -> list[str]:
    """The weight files that a training needs before it begins, as `checkpoint.locate` takes them.

    Args:
        cfg: The config.
        resumed: Whether the network has its own weights already, and only its teacher needs some.
    """
    model, teacher = cfg.model, cfg.model.get('teacher')
    ours = [] if resumed else [model, model.get('backbone') or {}]
    parts = [part for part in ours if str(part.get('type')).startswith('mmiformer.')] + [teacher or {}]
    inits = [part.get('init_cfg') for part in parts]
    return [init['checkpoint'] for init in inits if isinstance(init, dict) and init.get('checkpoint')]


_NEW_RUN = 'To start a new run from its weights, replace --resume with --cfg-options load_from=CHECKPOINT'


def check_resumed(cfg: Config, checkpoint: dict) -> None:
    """Check that a run goes on as it began.

    Args:
        cfg: The config, with the options of the command line.
        checkpoint: The checkpoint to resume from, which records the config it was trained with.

    Raises:
        UserError: The checkpoint holds weights alone; or the batch norms of the backbone trained before and would be
            frozen now, or the other way round, since `--no-pretrained` is easily left out; or the optimizer is
            another; or the run averaged its weights and would no longer.
    """
    missing = {'epoch', 'iter'} - checkpoint.get('meta', {}).keys() | {'message_hub', 'optimizer'} - checkpoint.keys()
    if missing:
        raise UserError(
            f'--resume: the checkpoint was not left by a training to be resumed: it has no {few(sorted(missing))}. '
            + _NEW_RUN
        )
    if damaged := [key for key in ('message_hub', 'optimizer') if not isinstance(checkpoint[key], dict)]:
        raise UserError(f'--resume: the checkpoint is damaged: its {few(damaged)} is no dict. {_NEW_RUN}')
    meta = checkpoint['meta']
    if any(not isinstance(number := meta.get(key, 0), int) or number < 0 for key in ('epoch', 'iter', 'epoch_iter')):
        raise UserError('--resume: the checkpoint is damaged: its epoch or iteration is no number')
    before = recorded(checkpoint, 'model', 'backbone')
    now = cfg.model.get('backbone', {})
    if before and bool(before.get('norm_eval')) != bool(now.get('norm_eval')):
        raise UserError(
            f'--resume: the run began with norm_eval={before.get("norm_eval", False)} in its backbone and would go on '
            f'with norm_eval={now.get("norm_eval", False)}. '
            'Give --no-pretrained again if it began with it, else leave it out'
        )
    before = recorded(checkpoint, 'optim_wrapper', 'optimizer')
    now = cfg.optim_wrapper.get('optimizer') or {}
    changed = [key for key in now if key in before and _plain(before[key]) != _plain(now[key])]
    if 'type' in changed:
        raise UserError(
            f'--resume: the run began with the optimizer {before["type"]} and would go on with {now["type"]}, which '
            f'cannot use its state. {_NEW_RUN}'
        )
    if changed:
        logger.warning(
            f'--resume: the optimizer goes on as it was, so the new {few(changed)} of optim_wrapper.optimizer has no '
            'effect.'
        )
    if 'ema_state_dict' in checkpoint and 'EMAHook' not in map(kind, cfg.get('custom_hooks') or []):
        raise UserError(
            '--resume: the run began with EMAHook, and would go on from its averages as if they were the weights. '
            'Keep the hook in custom_hooks'
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # records are read as lists


def recorded(checkpoint: dict, *keys: str) -> dict:
    """A part of the config that MMEngine wrote into a checkpoint, read as data, without running it.

    Args:
        checkpoint: A checkpoint of MMEngine's.
        keys: The keys that lead to it, from the top of the config.

    Returns:
        The dict; empty if the checkpoint records no such part, or one that is not plain data.
    """
    try:
        for statement in ast.parse(checkpoint.get('meta', {}).get('cfg') or '').body:
            if isinstance(statement, ast.Assign) and statement.targets[0].id == keys[0]:
                part = _read_literal(statement.value)
                for key in keys[1:]:
                    part = part.get(key)
                return part if isinstance(part, dict) else {}
    except (SyntaxError, ValueError, AttributeError, TypeError, RecursionError, MemoryError):
        pass  # the last ones are of a program that is nested too deeply
    return {}


def _read_literal(node: ast.expr) -> Any:
    """`ast.literal_eval` that also knows `dict(key=value)`, as MMEngine writes it."""
    if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'dict' and not node.args:
        return {keyword.arg: _read_literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_read_literal(item) for item in node.elts]
    return ast.literal_eval(node)


def use_tensorboard(cfg: Config) -> None:
    """Also write scalars and pictures for TensorBoard, in place.

    Raises:
        UserError: The package tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except ImportError as error:
        raise UserError(f'--tensorboard needs the package tensorboard ({error}): pip install tensorboard') from error
    backends = cfg.visualizer.setdefault('vis_backends', [dict(type='LocalVisBackend')])
    if all(backend['type'] != 'TensorboardVisBackend' for backend in backends):
        cfg.visualizer.vis_backends = [*backends, dict(type='TensorboardVisBackend')]


def draw_validation(cfg: Config, number: int) -> None:
    """Draw some validation images at each evaluation, in place.

    Raises:
        UserError: The number is negative.
    """
    if number < 0:
        raise UserError(f'--vis {number} must not be negative')
    if number:
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='mmiformer.ValidationPictures', number=number)]


def use_amp(cfg: Config) -> None:
    """Train with automatic mixed precision, in place.

    Raises:
        UserError: The config has an optimizer wrapper of its own, or there is no GPU, which MMEngine's needs.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind == 'AmpOptimWrapper':
        return
    if kind != 'OptimWrapper':
        raise UserError(f"--amp goes with optim_wrapper.type='OptimWrapper', not {kind!r}")
    if not torch.cuda.is_available():
        raise UserError("--amp needs a GPU: MMEngine's AmpOptimWrapper does not train on the CPU. Leave it out here")
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.loss_scale = 'dynamic'


def scale_lr(cfg: Config) -> None:
    """Scale the learning rate by the real batch over the recipe's, in place.

    Raises:
        UserError: The config does not say its recipe's batch, or accumulates gradients, which MMEngine does not count.
    """
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise UserError(f'--auto-scale-lr: {cfg.filename} has no auto_scale_lr.base_batch_size')
    if cfg.optim_wrapper.get('accumulative_counts', 1) != 1:
        raise UserError(
            '--auto-scale-lr: MMEngine does not count accumulated gradients (optim_wrapper.accumulative_counts) as '
            'part of the batch. Set optim_wrapper.optimizer.lr yourself'
        )
    cfg.auto_scale_lr.enable = True
