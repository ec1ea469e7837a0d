"""Are the settings of single parameters among those that MMEngine reads? It takes no notice of any others."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mmengine.config import Config

from ..errors import few
from .findings import Finding

CONSTRUCTOR = 'DefaultOptimWrapperConstructor'  # others have settings of their own
SETTINGS = (
    'custom_keys',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
)
FACTORS = ('lr_mult', 'decay_mult')


def check_paramwise(cfg: Config) -> Iterator[Finding]:
    """Check the keys and numbers of `optim_wrapper.paramwise_cfg`.

    Args:
        cfg: The config.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    settings = wrapper.get('paramwise_cfg')
    if not isinstance(settings, Mapping) or wrapper.get('constructor', CONSTRUCTOR) != CONSTRUCTOR:
        return
    place, parts = 'optim_wrapper.paramwise_cfg', settings.get('custom_keys')
    yield from _judge(place, settings, SETTINGS)
    for name, factors in parts.items() if isinstance(parts, Mapping) else ():  # building tells of anything else
        if isinstance(factors, Mapping):
            yield from _judge(f'{place}.custom_keys.{name}', factors, FACTORS)


def _judge(place: str, settings: Mapping[str, Any], known: Collection[str]) -> Iterator[Finding]:
    for key, value in settings.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.85)
            fix = f'Did you mean {near[0]}?' if near else f'It reads {few(known, len(known))}.'
            level = 'error' if near else 'warning'  # a config of MMSegmentation has one, too
            yield Finding(level, f'{place}.{key}', 'MMEngine does not read it, so it changes nothing', fix)
        elif key.endswith('_mult') and (isinstance(value, bool) or not isinstance(value, (int, float, type(None)))):
            yield Finding('error', f'{place}.{key}', f'{value!r} is not a number')
