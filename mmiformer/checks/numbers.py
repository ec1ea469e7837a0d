"""Are the numbers of a run numbers? What computes with them fails late, or runs for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mmengine.config import Config
from mmengine.hooks import Hook

from .findings import Finding

# {part: {key: the least}}
LOADER = dict(batch_size=1, num_workers=0)
TRAINING = dict(
    train_cfg=dict(max_epochs=1, max_iters=1, val_interval=1),
    optim_wrapper=dict(accumulative_counts=1),
)
MOST = dict(batch_size=10**6, num_workers=1000)  # more of either would take the whole machine before anything fails


def check_numbers(cfg: Config, loaders: Sequence[str], training: bool) -> Iterator[Finding]:
    """Check that how much a run reads, how long it lasts and how often it evaluates are whole numbers.

    Args:
        cfg: The config.
        loaders: Keys of the dataloaders that the run uses.
        training: Whether it trains.
    """
    for part, least in {**dict.fromkeys(loaders, LOADER), **(TRAINING if training else {})}.items():
        for key, minimum in least.items():
            value = (cfg.get(part) or {}).get(key, minimum)
            if type(value) is not int or not minimum <= value <= MOST.get(key, value):
                until = f'to {MOST[key]}' if key in MOST else 'up'
                yield Finding('error', f'{part}.{key}', f'{value!r} is not a whole number from {minimum} {until}')
    for name, hook in (cfg.get('default_hooks') or {}).items() if training else ():
        if not isinstance(hook, (Mapping, type(None), Hook)):
            yield Finding(
                'error', f'default_hooks.{name}', f'{hook!r} is no hook: set its keys, or None to leave it out'
            )
        elif isinstance(hook, Mapping) and type(value := hook.get('interval', 1)) is not int:
            yield Finding('error', f'default_hooks.{name}.interval', f'{value!r} is not a whole number')
