"""Key layouts of published weights: told apart by the keys of the stem, and renamed one to another.

Three layouts of the same tensors: ours ('mmiformer'), the released code's ('released') and timm's ('timm').
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from torch import Tensor

from ..errors import UserError, few
from .arch import ARCHS

LAYOUTS = ('mmiformer', 'released', 'timm')  # the columns of the tables below

# Each unit has layers: a Conv-BN's, or a head's, which is a batch norm and a linear layer.
_LAYERS = (('conv', 'c', 'c'), ('norm', 'bn', 'bn'), ('fc', 'l', 'l'))
_STEM = (
    ('stem.0', 'downsample_layers.0.0', 'stem.conv1'),
    ('stem.1', 'downsample_layers.0.2.conv_exp_bn1', 'stem.conv2'),
    ('stem.2', 'downsample_layers.0.2.conv_pwl_bn2', 'stem.conv3'),
)
_DOWNSAMPLES = tuple(
    (f'stages.{i}.downsample', f'downsample_layers.{i}.0', f'stages.{i}.downsample') for i in range(1, 10)
)
_HEADS = (
    ('head', 'classifier.classifier', 'head.head'),
    ('head_dist', 'classifier.classifier_dist', 'head.head_dist'),
)
_BLOCKS = {
    'conv': (
        ('dwconv', 'token_channel_mixer.m.0', 'mixer.module.0'),
        ('expand', 'token_channel_mixer.m.1', 'mixer.module.1'),
        ('project', 'token_channel_mixer.m.3', 'mixer.module.3'),
        ('gamma', 'token_channel_mixer.gamma', 'mixer.gamma'),
    ),
    'cpe': (('dwconv', 'cpe.m', 'cpe.module'),),
    'shma': (
        ('q', 'token_channel_mixer.m.q', 'mixer.module.q'),
        ('k', 'token_channel_mixer.m.k', 'mixer.module.k'),
        ('v_gate', 'token_channel_mixer.m.v_gate', 'mixer.module.v_gate'),
        ('project', 'token_channel_mixer.m.proj', 'mixer.module.proj'),
        ('gamma', 'token_channel_mixer.gamma', 'mixer.gamma'),
    ),
    'ffn': (
        ('expand', 'channel_mixer.m.0', 'mixer.module.0'),
        ('project', 'channel_mixer.m.2', 'mixer.module.2'),
        ('gamma', 'channel_mixer.gamma', 'mixer.gamma'),
    ),
}
# The units that tell a block's kind, by our names, looked for in this order.
_TELLTALES = dict(shma={'v_gate'}, conv={'dwconv', 'expand'}, cpe={'dwconv'}, ffn={'expand'})

_BLOCK_KEY = re.compile(r'stages\.(\d+)\.(?:blocks\.)?(\d+)\.(?:block\.)?(.+)')
_BLOCK_PREFIX = ('stages.{}.blocks.{}.', 'stages.{}.{}.block.', 'stages.{}.blocks.{}.')
# Any key of the stem's first unit tells the layout, and the prefix before it.
_FIRST_KEY = re.compile(
    r'((?:.*\.)?)(?:'
    + '|'.join(
        rf'(?P<{layout}>{re.escape(unit)}\.(?:{conv}|{norm})\.\w+)'
        for layout, unit, conv, norm in zip(LAYOUTS, _STEM[0], *_LAYERS[:2], strict=True)
    )
    + ')'
)


def _split(key: str) -> tuple[str, str, str]:
    """A key as unit, layer and parameter; gamma is a unit without layers."""
    if key == 'gamma' or key.endswith('.gamma'):
        return key, '', ''
    unit, layer, parameter = ('', '', *key.rsplit('.', 2))[-3:]
    return unit, layer, parameter


def _units(kind: str, old: int, new: int) -> dict[str, str]:
    return {row[old]: row[new] for row in _BLOCKS[kind]}


def block_kinds(keys: Iterable[str], layout: str) -> dict[tuple[int, int], str]:
    """{(stage, block): kind} of a backbone's keys, by the units that each block has."""
    column = LAYOUTS.index(layout)
    units = defaultdict(set)
    for key in keys:
        if match := _BLOCK_KEY.fullmatch(key):
            units[int(match[1]), int(match[2])].add(_split(match[3])[0])
    kinds = {}
    for place, there in units.items():
        for kind, telltale in _TELLTALES.items():
            if telltale <= {ours for ours, theirs in _units(kind, 0, column).items() if theirs in there}:
                kinds[place] = kind
                break
    return kinds


def rename(state_dict: Mapping[str, Tensor], source: str, target: str) -> dict[str, Tensor]:
    """Rename the keys of a backbone, and of classifier heads beside it, from one layout to another.

    Args:
        state_dict: {key: tensor} in the layout `source`, without any prefix before the backbone's keys.
        source: A layout, one of `LAYOUTS`.
        target: Another.

    Returns:
        The same tensors, in the same order, under the keys of `target`.

    Raises:
        UserError: Keys are neither a backbone's nor a classifier head's.
    """
    old, new = LAYOUTS.index(source), LAYOUTS.index(target)
    kinds = block_kinds(state_dict, source)
    outside = {row[old]: row[new] for row in (*_STEM, *_DOWNSAMPLES, *_HEADS)}
    layers = {row[old]: row[new] for row in _LAYERS} | {'': ''}

    def renamed(key: str) -> str | None:
        prefix, units, rest = '', outside, key
        if (match := _BLOCK_KEY.fullmatch(key)) and (place := (int(match[1]), int(match[2]))) in kinds:
            prefix, units, rest = _BLOCK_PREFIX[new].format(*place), _units(kinds[place], old, new), match[3]
        unit, layer, parameter = _split(rest)
        if unit not in units or layer not in layers:
            return None
        return prefix + '.'.join(filter(None, (units[unit], layers[layer], parameter)))

    names = {key: renamed(key) for key in state_dict}
    if unknown := [key for key, name in names.items() if name is None]:
        raise UserError(
            f'{len(unknown)} ({few(unknown)}) of {len(names)} keys are neither an iFormer backbone nor a known head '
            f'in the layout {source!r}, which the other keys have'
        )
    return {names[key]: tensor for key, tensor in state_dict.items()}


def recognize(keys: Iterable[str]) -> tuple[str, str]:
    """The layout of a file, and the prefix of its backbone.

    Args:
        keys: The keys of a state dict.

    Returns:
        One of `LAYOUTS`, and what stands before the backbone's keys, such as `''` or `'backbone.'`.

    Raises:
        UserError: There is no iFormer backbone, or more than one.
    """
    keys = list(keys)
    found = {(match.lastgroup, match[1]) for key in keys if (match := _FIRST_KEY.fullmatch(key))}
    if not found:
        raise UserError(
            f'no iFormer backbone in any of the layouts {", ".join(LAYOUTS)} is among these keys ({len(keys)}): '
            f'{few(keys)}'
        )
    if len(found) > 1:
        prefixes = ', '.join(repr(prefix) for _, prefix in sorted(found, key=lambda item: item[1]))
        raise UserError(f'more than one iFormer backbone is among the keys, with the prefixes {prefixes}; choose one')
    return found.pop()


def without_heads(state_dict: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """A backbone's keys alone, in its own layout, of those of a classifier."""
    heads = {row[LAYOUTS.index(layout)] for row in _HEADS}
    return {key: tensor for key, tensor in state_dict.items() if _split(key)[0] not in heads}


def convert(state_dict: Mapping[str, Tensor], target: str) -> dict[str, Tensor]:
    """The state dict of a whole file in another layout: a backbone, a classifier, a detector or a segmentor.

    A classifier, known by its head, has its backbone under `backbone.` in our layout and under no prefix in the
    others. Necks and task heads have the same keys in all layouts.

    Args:
        state_dict: {key: tensor} in any layout.
        target: One of `LAYOUTS`.

    Returns:
        The same tensors in the same order.

    Raises:
        UserError: The file holds no iFormer, or keys that are no part of one.
    """
    source, prefix = recognize(state_dict)
    heads = set(state_dict) - set(without_heads(state_dict, source))
    if prefix != ('backbone.' if source == 'mmiformer' else ''):
        heads = set()  # a detector or segmentor, whose own head is called so
    bare = {
        key: key if key in heads else key.removeprefix(prefix)
        for key in state_dict
        if key in heads or key.startswith(prefix)
    }
    others = [key for key in state_dict if key not in bare]
    if heads and others:
        raise UserError(
            f'{len(others)} ({few(others)}) of {len(state_dict)} keys are no part of a classifier (layout {source!r})'
        )
    names = dict(zip(bare, rename({bare[key]: state_dict[key] for key in bare}, source, target), strict=True))
    if heads:
        prefix = 'backbone.' if target == 'mmiformer' else ''
    return {
        (names[key] if key in heads else prefix + names[key] if key in bare else key): tensor
        for key, tensor in state_dict.items()
    }


def arch_fields(state_dict: Mapping[str, Tensor]) -> dict:
    """The fields of `IFormer(arch={...})` that a backbone's weights tell, in our layout and without prefix.

    A field is 0 where its weights are missing.
    """
    found = block_kinds(state_dict, 'mmiformer')
    number = 1 + max((stage for stage, _ in found), default=-1)
    kinds = [[found[place] for place in sorted(found) if place[0] == stage] for stage in range(number)]

    def widths(kind: str, unit: str, stage: int | None = None) -> tuple[int, int]:
        """Output and input channels of a unit in the first such block; zeros where there is none."""
        for (s, block), there in sorted(found.items()):
            weight = state_dict.get(f'stages.{s}.blocks.{block}.{unit}.conv.weight')
            if there == kind and stage in (None, s) and weight is not None and weight.ndim == 4:
                return tuple(weight.shape[:2])
        return 0, 0

    def ratio(kind: str) -> int:
        wide, narrow = widths(kind, 'expand')
        return wide // narrow if narrow else 0

    stem = state_dict.get('stem.0.conv.weight')
    last_conv_blocks = tuple(run[::-1].index('ffn') if 'ffn' in run else 0 for run in kinds)
    return dict(
        stem_channels=0 if stem is None or stem.ndim != 4 else stem.shape[0],
        channels=tuple(max(widths(kind, 'project', stage)[0] for kind in ('conv', 'ffn')) for stage in range(number)),
        conv_blocks=tuple(run.count('conv') - last for run, last in zip(kinds, last_conv_blocks, strict=True)),
        triples=tuple(run.count('cpe') for run in kinds),
        last_conv_blocks=last_conv_blocks,
        head_dims=tuple(widths('shma', 'q', stage)[0] for stage in range(number)),
        conv_ratio=ratio('conv'),
        ffn_ratio=ratio('ffn'),
    )


def name_of(fields: Mapping) -> str | dict:
    """The name of the variant that has these fields of :func:`arch_fields`; the fields themselves if none has."""
    stages = len(fields['channels'])
    for name, arch in ARCHS.items():
        known = {key: getattr(arch, key) for key in fields}
        known = {key: value[:stages] if isinstance(value, tuple) else value for key, value in known.items()}
        if all(fields[key] in (0, known[key]) for key in fields):
            return name
    return dict(fields)


def find_arch(state_dict: Mapping[str, Tensor]) -> str | dict:
    """The `arch` of the network that a backbone's weights are of, in our layout and without prefix.

    Returns:
        The name of a variant, or the fields of a network of one's own, as `IFormer(arch=...)` takes them.
    """
    arch = name_of(arch_fields(state_dict))
    if isinstance(arch, dict) and any(key.endswith('.gamma') for key in state_dict):
        arch['layer_scale'] = 1e-6
    return arch
