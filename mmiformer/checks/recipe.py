"""Is a training the recipe: its batch and the learning rate that belongs to it."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config
from mmengine.dist import get_world_size

from .findings import Finding


def check_batch(cfg: Config) -> Iterator[Finding]:
    """Check that the learning rate belongs to the batch. Call it when the processes have been joined."""
    recipe = cfg.get('auto_scale_lr') or {}
    base, processes = recipe.get('base_batch_size'), get_world_size()
    each = cfg.train_dataloader.get('batch_size', 1) * cfg.optim_wrapper.get('accumulative_counts', 1)
    batch = processes * each
    if base is not None and batch != base and not recipe.get('enable'):
        yield Finding(
            'warning',
            'optim_wrapper',
            f'The learning rate is for a batch of {base}, and this run has {batch} ({processes} processes x {each}): '
            'results will fall short of the published ones.',
            f'Pass --auto-scale-lr to scale it by {batch}/{base}.',
        )
    elif base is not None:
        yield Finding('fact', 'optim_wrapper', f'a batch of {batch}, the learning rate belongs to {base}')
