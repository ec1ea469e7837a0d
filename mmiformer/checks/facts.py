"""Facts that stand in several places of a config and a checkpoint, held against each other. Opens no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from ..engine.config import LOADERS, evaluators, kind, nodes
from ..engine.recipe import recorded
from ..errors import few
from .channels import check_input, check_neck, check_pretrained_input
from .classes import CHECKPOINT, check_metainfo, compare_classes, named_classes, recorded_meta
from .dataset import data_configs
from .findings import Finding
from .heads import check_heads, check_one_channel
from .ignoring import check_ignored
from .parts import model_argument

# What a checkpoint records of its model that changes what it computes, though its weights fit without it.
SETTINGS = dict(
    data_preprocessor=('mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr'),
    backbone=('window_size', 'window_layout'),
)

# Parts of models to which the classes of the data are not those of the heads.
OPEN = dict(language_model='it reads text', text_encoder='it reads text', tracker='it is a tracker')


def compare_facts(
    cfg: Config, loaders: Sequence[str], checkpoint: Mapping[str, Any] | None = None
) -> Iterator[Finding]:
    """Compare what a config says in several places, and with what a checkpoint records.

    Args:
        cfg: The config.
        loaders: Keys of the dataloaders that the run uses, none for prediction; the others are only warned about.
        checkpoint: The checkpoint to be tested or resumed.
    """
    scope, model = cfg.default_scope, cfg.get('model') or {}
    data, everywhere = data_configs(cfg, loaders), data_configs(cfg, LOADERS)
    hooks = nodes([cfg.get('default_hooks') or {}, cfg.get('custom_hooks') or []])
    drawn = any('type' in hook and (hook.get('draw') or kind(hook) == 'ValidationPictures') for hook in hooks)
    for where, one in data.items():
        yield from check_metainfo(where, one, drawn)
    if scope == 'mmseg':
        yield from check_one_channel(model, scope)
    yield from _check_classes(cfg, data, everywhere, checkpoint)
    yield from check_input(model, scope, data or data_configs(cfg, LOADERS[2:]))  # prediction loads as a test does
    yield from check_pretrained_input(model)
    yield from check_neck(model)
    names = [loader.replace('dataloader', 'evaluator') for loader in loaders]
    metrics = {name: list(evaluators(cfg, (name,))) for name in names}
    yield from check_ignored(model, scope, data, data_configs(cfg, LOADERS[:1]), metrics)
    if checkpoint:
        yield from _check_settings(model, scope, checkpoint)


def _check_classes(cfg, data, everywhere, checkpoint) -> Iterator[Finding]:
    named, model = named_classes(everywhere), cfg.get('model') or {}
    recorded = list(recorded_meta(checkpoint or {}).get('classes') or ())
    for key, why in OPEN.items():
        if key in model:
            yield Finding('note', 'model', f'{why}, so classes were not compared')
            return
    for where in data:
        if not data[where].classes:
            yield Finding('note', where, f'the classes of a {data[where].kind} are not known, so nothing was compared')
    if recorded:
        reference = CHECKPOINT, recorded
    elif named:
        reference = next(iter(named.items()))
    else:
        return
    others = {where: classes for where, classes in named.items() if where != reference[0]}
    if recorded and not any('train' in where for where in data):  # a test is of what was trained, whatever on
        others = {where: classes for where, classes in others.items() if where in data}
    found = list(compare_classes(reference, others, cfg.default_scope == 'mmdet', data))
    yield from found
    if not found:
        places = ', '.join([reference[0], *others])
        yield Finding('fact', 'classes', f'{len(reference[1])} in {places}: {few(reference[1], 10)}')
    one = everywhere.get(reference[0])
    alternative = ''
    if not one:
        alternative = ', or take the config that the checkpoint was trained with'
    elif not (one.config.get('metainfo') or {}).get('classes'):
        alternative = f', or name the classes of the data: without metainfo.classes they are those of a {one.kind}'
    yield from check_heads(model, cfg.default_scope, one.meta if one else recorded_meta(checkpoint), alternative)


def _check_settings(model: Mapping[str, Any], scope: str, checkpoint: dict) -> Iterator[Finding]:
    """Check what the trained model was built with."""
    for part, keys in SETTINGS.items():
        now, before = model.get(part) or {}, recorded(checkpoint, 'model', part)
        if not before or now.get('type') != before.get('type'):
            continue
        for key in keys:
            is_now, was = (_plain(model_argument(one, scope, key)) for one in (now, before))
            if is_now != was:
                yield Finding(
                    'warning',
                    f'model.{part}',
                    f'{key}={is_now}, and the checkpoint was trained with {was}',
                    f'Set model.{part}.{key}={was}.',
                )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
