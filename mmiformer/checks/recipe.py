"""Is a training the recipe: batch, learning rate, schedule, weights, batch norms? Has it disk space, which versions?"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.registry import MODELS

from ..engine.config import kind, nodes
from ..engine.recipe import recorded
from ..errors import few
from ..versions import versions
from .findings import Finding

DECAYS = ('PolyLR', 'CosineAnnealingLR', 'MultiStepLR', 'ExponentialLR', 'StepLR')  # what a schedule ends with
GRADUAL = ('PolyLR', 'CosineAnnealingLR', 'LinearLR')  # what depends on where it ends


def check_recipe(cfg: Config, resumed: Mapping[str, Any] | None = None) -> Iterator[Finding]:
    """Check what a training does, before it begins. Call it when the processes have been joined.

    Args:
        cfg: The config.
        resumed: The checkpoint that the run resumes from.
    """
    yield from check_batch(cfg)
    yield from check_schedule(cfg)
    yield from check_sampler(cfg)
    yield from check_start(cfg, resumed)
    yield from check_norms(cfg)
    yield from list(check_saving(cfg)) or check_room(cfg, resumed)
    found = versions() | (dict(GPU=torch.cuda.get_device_name()) if torch.cuda.is_available() else {})
    yield Finding('fact', 'versions', ', '.join(f'{name} {number}' for name, number in found.items()))


def check_batch(cfg: Config) -> Iterator[Finding]:
    """Check that the learning rate belongs to the batch."""
    recipe, wrapper = cfg.get('auto_scale_lr') or {}, cfg.optim_wrapper
    base, processes, images = recipe.get('base_batch_size'), get_world_size(), cfg.train_dataloader.get('batch_size', 1)
    steps = wrapper.get('accumulative_counts', 1)
    batch = processes * images * steps
    made_of = f'{processes} process{"es" * (processes > 1)} x {images} images' + f' x {steps} accumulated' * (steps > 1)
    optimizer = wrapper.get('optimizer') or {}
    rate = optimizer.get('lr')
    if not isinstance(rate, (int, float)):  # building it will say so
        rate = None
    planned = rate if rate is None else _of_file(cfg) or rate
    wanted = planned and base and planned * batch / base
    if wanted and recipe.get('enable'):
        rate *= processes * images / base  # MMEngine does not count what is accumulated
    what = f'a batch of {batch} ({made_of})'
    if rate is not None:
        what += f', {kind(optimizer) if "type" in optimizer else "optimizer"} with a learning rate of {rate:.4g}'
    if base is None:
        yield Finding('fact', 'optim_wrapper', what)
    elif math.isclose(rate, wanted or 0) if rate is not None else batch == base or recipe.get('enable'):
        yield Finding('fact', 'optim_wrapper', f'{what}, which belongs to it: the recipe has a batch of {base}')
    elif rate is not None and not math.isclose(rate, planned):
        yield Finding(
            'warning',
            'optim_wrapper',
            f'The learning rate of {rate:.4g} is not the one of the recipe, which is {wanted:.4g} for a batch of '
            f'{batch} ({made_of}): results will not be the published ones.',
            f'Pass --cfg-options optim_wrapper.optimizer.lr={wanted:.4g}, without --auto-scale-lr.',
        )
    else:
        options = [] if steps > 1 else [f'--auto-scale-lr to scale it by {batch}/{base}']
        options += [f'--cfg-options optim_wrapper.optimizer.lr={wanted:.4g}'] if rate else []
        yield Finding(
            'warning',
            'optim_wrapper',
            f'The learning rate{f" of {rate:.4g}" if rate else ""} is for a batch of {base}, and this run has {batch} '
            f'({made_of}): results will fall short of the published ones.',
            f'Pass {" or ".join(options)}.' if options else '',
        )


def _of_file(cfg: Config) -> float | None:
    """The learning rate of the config file, without the options of the command line."""
    with contextlib.suppress(Exception):  # a config is a program
        return Config.fromfile(cfg.filename).optim_wrapper.optimizer.lr
    return None


def check_schedule(cfg: Config) -> Iterator[Finding]:
    """Check that the schedule of the learning rate lasts as long as the run."""
    by_epoch = _by_epoch(cfg)
    unit, length = ('epochs', 'max_epochs') if by_epoch else ('iterations', 'max_iters')
    length = cfg.train_cfg.get(length)
    parts = cfg.get('param_scheduler') or []
    parts = [parts] if isinstance(parts, Mapping) and 'type' in parts else parts
    if not length or not isinstance(parts, (list, tuple)):
        return
    own = {number: part for number, part in enumerate(parts) if part.get('by_epoch', True) == by_epoch}
    ends = {number: part.get('end') or length for number, part in own.items()}
    last = max(ends, key=ends.get, default=None)
    name = '' if last is None else kind(parts[last])
    late = [step for step in parts[last].get('milestones', ()) if step >= length] if name == 'MultiStepLR' else []
    if late:
        what = f'{name} lowers the learning rate after {few(late)} {unit}, and the run has {length}'
        yield Finding('warning', 'param_scheduler', what, f'Set param_scheduler.{last}.milestones.')
    elif name in DECAYS and ends[last] < length or name in GRADUAL and ends[last] > length:
        stays = 'then stays' if ends[last] < length else 'does not come to its end'
        yield Finding(
            'warning',
            'param_scheduler',
            f'{name} ends after {ends[last]} {unit}, and the run after {length}: the learning rate {stays}',
            f'Set param_scheduler.{last}.end={length}.',
        )
    elif parts:
        yield Finding('fact', 'param_scheduler', f'{length} {unit}: {", ".join(map(kind, parts))}')


def check_sampler(cfg: Config) -> Iterator[Finding]:
    """Check that epochs end."""
    sampler = cfg.train_dataloader.get('sampler') or {}
    if 'type' in sampler and kind(sampler) == 'InfiniteSampler' and _by_epoch(cfg):
        fix = 'Set train_dataloader.sampler.type=DefaultSampler, or count iterations in train_cfg.'
        yield Finding('error', 'train_dataloader', 'with an InfiniteSampler, the first epoch never ends', fix)


def _by_epoch(cfg: Config) -> bool:
    """Whether a run counts epochs."""
    loop = cfg.train_cfg
    return loop.get('by_epoch', kind(loop) == 'EpochBasedTrainLoop' if 'type' in loop else True)


def check_start(cfg: Config, resumed: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Tell what the weights start from; frozen statistics need weights."""
    backbone = cfg.model.get('backbone') or {}
    files = [node.get('checkpoint') for node in nodes(backbone) if node.get('type') == 'Pretrained']
    files += [cfg.model.get('pretrained')]
    if resumed:
        meta = resumed.get('meta', {})
        what = f'goes on from {cfg.load_from}, after {meta.get("epoch", 0)} epochs and {meta.get("iter", 0)} iterations'
        yield Finding('fact', 'model', what)
        processes, images = meta.get('processes'), recorded(resumed, 'train_dataloader').get('batch_size')
        was, now = (processes, images), (get_world_size(), cfg.train_dataloader.get('batch_size'))
        if None not in was and was != now:
            what = 'the run began with batches of {} x {} (processes x images), and goes on with {} x {}'
            fix = 'Go on as it began: the order of the samples depends on both, and some may come twice or not at all.'
            yield Finding('warning', 'train_dataloader', what.format(*was, *now), fix)
    elif cfg.get('load_from'):
        yield Finding('fact', 'model', f'starts from {cfg.load_from}, where its weights fit')
    elif pretrained := [file for file in files if file]:
        yield Finding('fact', 'model.backbone', f'starts from {pretrained[0]}')
    elif backbone.get('norm_eval'):
        what = 'starts from random weights, with the frozen batch norm statistics of no data, and will learn little'
        yield Finding('warning', 'model.backbone', what, 'Name weights in init_cfg, or pass --no-pretrained.')
    else:
        yield Finding('fact', 'model.backbone', 'starts from random weights')


def check_norms(cfg: Config) -> Iterator[Finding]:
    """Tell how batch norms work, and whether they have images enough."""
    backbone, images = cfg.model.get('backbone') or {}, cfg.train_dataloader.get('batch_size', 1)
    if 'norm_eval' not in backbone:
        return
    parts = [part for key, part in cfg.model.items() if key != 'backbone']
    others = {node['type'] for node in nodes(parts) if node.get('type') in ('BN', 'SyncBN', 'MMSyncBN')}
    heads = f'; {", ".join(sorted(others))} in the heads' if others else ''
    if backbone['norm_eval']:
        yield Finding('fact', 'model.backbone', f'batch norms with frozen statistics (norm_eval=True){heads}')
    elif images == 1:
        what = 'batch norms train on single images (norm_eval=False and train_dataloader.batch_size=1)'
        yield Finding('warning', 'model.backbone', what, 'Give each process more images, or freeze: norm_eval=True.')
    else:
        yield Finding(
            'fact', 'model.backbone', f'batch norms train on {images} images at once (norm_eval=False){heads}'
        )


def check_saving(cfg: Config) -> Iterator[Finding]:
    """Check that a run saves checkpoints."""
    saving = (cfg.get('default_hooks') or {}).get('checkpoint', {})
    if saving is None:
        yield Finding('warning', 'default_hooks.checkpoint', 'None, so nothing of this run is saved')
    elif saving.get('by_epoch', True) and not _by_epoch(cfg):
        what = 'saves after epochs, of which this run has none, so nothing of it is saved'
        yield Finding('warning', 'default_hooks.checkpoint', what, 'Set default_hooks.checkpoint.by_epoch=False.')


def check_room(cfg: Config, resumed: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Check that the disk has room for the checkpoints of a run."""
    number, size = _checkpoints(cfg, resumed), _checkpoint_size(cfg)
    if not cfg.get('work_dir') or number == 0 or not size:
        return
    folder = next(
        path for path in (Path(cfg.work_dir).absolute(), *Path(cfg.work_dir).absolute().parents) if path.is_dir()
    )
    free = shutil.disk_usage(folder).free
    what = f'{number or "all"} checkpoints of about {_bytes(size)}, and {_bytes(free)} of disk space in {folder}'
    fix = 'Make room, choose another --work-dir, or keep fewer: default_hooks.checkpoint.max_keep_ckpts.'
    needed = size * (number or 2)
    if free < 2 * size:  # the next one is whole before the last one goes
        yield Finding('error', 'work_dir', what, fix)
    else:
        yield Finding('warning' if free < needed else 'fact', 'work_dir', what, fix * (free < needed))


def _checkpoints(cfg: Config, resumed: Mapping[str, Any] | None) -> int | None:
    """How many checkpoints a run still writes and keeps; None if the size of the data decides."""
    saving = {'interval': -1, 'by_epoch': True, **((cfg.get('default_hooks') or {}).get('checkpoint') or {})}
    unit, done = ('max_epochs', 'epoch') if saving['by_epoch'] else ('max_iters', 'iter')
    length, kept, best = cfg.train_cfg.get(unit), saving.get('max_keep_ckpts', -1), bool(saving.get('save_best'))
    if saving['interval'] < 1:
        return 1 + best  # the last one
    if not length:
        return kept + 1 + best if kept > 0 else None
    number = math.ceil((length - (resumed or {}).get('meta', {}).get(done, 0)) / saving['interval'])
    return (min(number, kept + 1) if kept > 0 else number) + best


def _checkpoint_size(cfg: Config) -> int:
    """Bytes of a checkpoint: the weights, their averages, and what the optimizer keeps of each; 0 if not known."""
    try:
        with MODELS.switch_scope_and_registry(cfg.default_scope) as registry, torch.device('meta'):
            model = registry.build(cfg.model)
    except Exception:  # some networks compute with numbers when they are built; and building tells what is wrong
        return 0
    weights = sum(weight.nbytes for weight in model.state_dict().values())
    trained = sum(weight.nbytes for weight in model.parameters() if weight.requires_grad)
    optimizer = cfg.optim_wrapper.get('optimizer') or {}
    states = 2 if 'Adam' in str(optimizer.get('type')) else 1 if optimizer.get('momentum') else 0
    averaged = 'EMAHook' in map(kind, cfg.get('custom_hooks') or [])
    return weights * (1 + averaged) + trained * states


def _bytes(number: float) -> str:
    for unit in ('MB', 'GB'):
        number /= 1000 if unit == 'GB' else 10**6
        if number < 1000:
            break
    return f'{number:.3g} {unit}'
