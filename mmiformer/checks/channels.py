"""The number of channels from the loaded image to the neck."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS

from ..engine.config import kind
from .dataset import DataConfig
from .findings import Finding
from .parts import model_argument

IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])  # of RGB, what iFormer's weights know
COLORS = dict(color=3, color_ignore_orientation=3, grayscale=1)


def loaded_channels(data: DataConfig) -> int | None:
    """Channels of the images that a pipeline makes; None if that is not known."""
    loads = list(data.transforms('LoadImageFromFile', 'LoadImageFromNDArray'))
    if len({load.get('color_type', 'color') for load in loads}) != 1 or list(data.transforms('ConcatCDInput')):
        return None
    channels = COLORS.get(loads[0].get('color_type', 'color'))
    for transform in data.transforms('RGB2Gray'):
        channels = transform.get('out_channels') or channels
    return channels


def check_input(model: Mapping[str, Any], scope: str, data: Mapping[str, DataConfig]) -> Iterator[Finding]:
    """Check loaders, normalization and backbone against each other."""
    backbone, preprocessor = model.get('backbone'), model.get('data_preprocessor') or {}
    mean, std = preprocessor.get('mean'), preprocessor.get('std')
    where = 'model.data_preprocessor'
    if (mean is None) != (std is None):
        yield Finding('error', where, f'mean={mean} and std={std}', 'Give both or neither.')
        return
    if mean is not None and 1 not in (len(mean), len(std)) and len(mean) != len(std):
        yield Finding('error', where, f'{len(mean)} means and {len(std)} deviations', 'Give one of each a channel.')
        return
    normalized = max(len(mean), len(std)) if mean is not None else 1
    takes = model_argument(backbone, scope, 'in_channels') if isinstance(backbone, Mapping) else None
    fed = {place: channels for place, one in data.items() if (channels := loaded_channels(one))}
    for place, channels in fed.items():
        gives = f'its images have {channels} {"channels" if channels > 1 else "channel"}'
        # MMSegmentation spreads one channel over three means; MMDetection and MMEngine refuse that.
        if normalized not in (1, channels) and (scope != 'mmseg' or channels > 1 or takes == 1):
            yield Finding(
                'error',
                place,
                f'{gives}, and model.data_preprocessor normalizes {normalized}',
                f'Give model.data_preprocessor one mean and std for each of {channels} channels'
                + (' (and bgr_to_rgb=False)' if channels == 1 else '')
                + ', or change color_type of LoadImageFromFile.',
            )
        elif takes and max(channels, normalized) != takes:
            yield Finding(
                'error',
                place,
                f'{gives}, and model.backbone takes {takes}',
                f'Set model.backbone.in_channels={channels}, or change color_type of LoadImageFromFile.',
            )
        elif scope == 'mmdet' and channels == 1 and (preprocessor.get('bgr_to_rgb') or preprocessor.get('rgb_to_bgr')):
            yield Finding('error', where, 'it swaps the colors of one channel', 'Set bgr_to_rgb=False.')
    if mean is not None and 0 < max(mean) <= 1 and max(std) <= 1:
        yield Finding(
            'warning',
            where,
            f'mean={list(mean)} is for images of 0 to 1, and the pipelines give 0 to 255',
            'Multiply mean and std by 255.',
        )
    if len(set(fed.values())) == 1 and takes:
        yield Finding('fact', 'model.backbone', f'{takes} input channels, as loaded and normalized')


def check_pretrained_input(model: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that iFormer's pretrained weights see images as in their training."""
    backbone, preprocessor = model.get('backbone') or {}, model.get('data_preprocessor') or {}
    if backbone.get('type') != 'mmiformer.IFormer' or not backbone.get('init_cfg'):
        return
    other = {key: preprocessor.get(key) for key in IMAGENET if not _near(preprocessor.get(key) or (), IMAGENET[key])}
    if not preprocessor.get('bgr_to_rgb'):
        other['bgr_to_rgb'] = preprocessor.get('bgr_to_rgb', False)
    if other and backbone.get('in_channels', 3) == 3:
        settings = ', '.join(f'{key}={value}' for key, value in other.items())
        yield Finding(
            'warning',
            'model.data_preprocessor',
            f'{settings}: the pretrained weights of iFormer were trained otherwise, so results fall short',
            f'Set mean={IMAGENET["mean"]}, std={IMAGENET["std"]}, bgr_to_rgb=True.',
        )


def _near(values: Sequence[float], others: Sequence[float]) -> bool:
    return len(values) == len(others) and max(abs(a - b) for a, b in zip(values, others, strict=True)) < 1


def output_channels(backbone: Mapping[str, Any]) -> list[int] | None:
    """Channels of the maps that a backbone of this project returns; None for others, and where it cannot be built."""
    if not str(backbone.get('type')).startswith('mmiformer.'):
        return None
    try:
        with torch.device('meta'):  # no weights
            built = MODELS.build({**backbone, 'init_cfg': None})
    except Exception:
        return None  # building it for the run tells why
    info = built.feature_info
    if kind(backbone) == 'IFormer':  # which has it for all stages
        info = [info[index] for index in built.out_indices]
    return [level['channels'] for level in info]


def check_neck(model: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that what follows a backbone of this project takes the maps that it gives."""
    gives = output_channels(model['backbone']) if isinstance(model.get('backbone'), Mapping) else None
    if gives is None:
        return
    necks = model.get('neck') or {key: head for key, head in model.items() if key.endswith('head') and head}
    if 'neck' in model and model['neck']:
        first = necks[0] if isinstance(necks, (list, tuple)) else necks
        followers = {'neck.0' if isinstance(necks, (list, tuple)) else 'neck': first}
    else:
        followers = necks
    right = []
    for place, part in followers.items():
        if not isinstance(part, Mapping) or 'in_channels' not in part:
            continue
        takes = part['in_channels']
        several = isinstance(takes, (list, tuple))
        index = part.get('in_index', range(len(gives)) if several else -1)
        index = list(index) if isinstance(index, (list, tuple, range)) else [index]
        if any(not -len(gives) <= level < len(gives) for level in index):
            yield Finding(
                'error',
                f'model.{place}',
                f'in_index={part["in_index"]}, and the backbone returns {len(gives)} maps',
                'Take one that it returns, or change its out_indices.',
            )
            continue
        given = [gives[level] for level in index]
        if list(takes) != given if several else takes not in given:
            yield Finding(
                'error',
                f'model.{place}',
                f'in_channels={takes}, and the backbone returns maps of {", ".join(map(str, given))} channels',
                f'Set model.{place}.in_channels={given if several else given[0]}.',
            )
        else:
            right.append(place)
    if right:
        yield Finding(
            'fact', 'model.backbone', f'maps of {", ".join(map(str, gives))} channels, as in {", ".join(right)}'
        )
