"""Key layouts of published weights, renaming one to another, and loading strictly whichever it is.

Three layouts of the same tensors: ours ('mmiformer'), the released code's ('released') and timm's ('timm'). A file is
recognised by the keys of its stem.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from .. import checkpoint as files
from ..errors import UserError

LAYOUTS = ('mmiformer', 'released', 'timm')  # the columns of the tables below

# Every row is a Conv-BN, but for the heads, which are a BN and a linear layer.
_OUTSIDE_BLOCKS = (
    ('stem.0', 'downsample_layers.0.0', 'stem.conv1'),
    ('stem.1', 'downsample_layers.0.2.conv_exp_bn1', 'stem.conv2'),
    ('stem.2', 'downsample_layers.0.2.conv_pwl_bn2', 'stem.conv3'),
    *((f'stages.{i}.downsample', f'downsample_layers.{i}.0', f'stages.{i}.downsample') for i in range(1, 10)),
    ('head', 'classifier.classifier', 'head.head'),
    ('head_dist', 'classifier.classifier_dist', 'head.head_dist'),
)
_BLOCKS = {
    'conv block': (
        ('dwconv', 'token_channel_mixer.m.0', 'mixer.module.0'),
        ('expand', 'token_channel_mixer.m.1', 'mixer.module.1'),
        ('project', 'token_channel_mixer.m.3', 'mixer.module.3'),
        ('gamma', 'token_channel_mixer.gamma', 'mixer.gamma'),
    ),
    'CPE': (('dwconv', 'cpe.m', 'cpe.module'),),
    'SHMA': (
        ('q', 'token_channel_mixer.m.q', 'mixer.module.q'),
        ('k', 'token_channel_mixer.m.k', 'mixer.module.k'),
        ('v_gate', 'token_channel_mixer.m.v_gate', 'mixer.module.v_gate'),
        ('project', 'token_channel_mixer.m.proj', 'mixer.module.proj'),
        ('gamma', 'token_channel_mixer.gamma', 'mixer.gamma'),
    ),
    'FFN': (
        ('expand', 'channel_mixer.m.0', 'mixer.module.0'),
        ('project', 'channel_mixer.m.2', 'mixer.module.2'),
        ('gamma', 'channel_mixer.gamma', 'mixer.gamma'),
    ),
}
_LAYERS = (('conv', 'c', 'c'), ('norm', 'bn', 'bn'))
_HEAD_LAYERS = (('norm', 'bn', 'bn'), ('fc', 'l', 'l'))

_BLOCK_KEY = {
    'mmiformer': re.compile(r'stages\.(\d+)\.blocks\.(\d+)\.(.+)'),
    'released': re.compile(r'stages\.(\d+)\.(\d+)\.block\.(.+)'),
    'timm': re.compile(r'stages\.(\d+)\.blocks\.(\d+)\.(.+)'),
}
_BLOCK = {'mmiformer': 'stages.{}.blocks.{}.{}', 'released': 'stages.{}.{}.block.{}', 'timm': 'stages.{}.blocks.{}.{}'}
_STEM_KEY = {
    'mmiformer': re.compile(r'((?:.*\.)?)stem\.[012]\.(?:conv|norm)\.\w+'),
    'released': re.compile(r'((?:.*\.)?)downsample_layers\.0\.\w+(?:\.\w+)*'),
    'timm': re.compile(r'((?:.*\.)?)stem\.conv[123]\.(?:c|bn)\.\w+'),
}
_HEAD_KEY = {
    'mmiformer': re.compile(r'head(?:_dist)?\.(?:norm|fc)\.\w+'),
    'released': re.compile(r'classifier\.classifier(?:_dist)?\.(?:bn|l)\.\w+'),
    'timm': re.compile(r'head\.head(?:_dist)?\.(?:bn|l)\.\w+'),
}
# Parts of the toolboxes' detectors and segmentors that a backbone leaves aside.
_TASK_PART = re.compile(r'(?:neck|data_preprocessor|\w*head\w*)\.')


def _few(keys: Iterable[str]) -> str:
    keys = list(keys)
    return f'{len(keys)} ({", ".join(keys[:4])}{", ..." if len(keys) > 4 else ""})'


def _split(rest: str) -> tuple[str, str, str]:
    """A key within a block as unit, layer and parameter; gamma is a unit without layers."""
    if rest == 'gamma' or rest.endswith('.gamma'):
        return rest, '', ''
    return tuple(rest.rsplit('.', 2)) if rest.count('.') >= 2 else ('', '', '')


def _kinds(keys: Iterable[str], layout: str) -> dict[tuple[str, str], str]:
    """{(stage, block): kind}, told by the units of each block: the smallest kind that has most of them."""
    units = defaultdict(set)
    for key in keys:
        if match := _BLOCK_KEY[layout].fullmatch(key):
            stage, block, rest = match.groups()
            units[stage, block].add(_split(rest)[0])
    column = LAYOUTS.index(layout)
    known = {kind: {row[column] for row in rows} for kind, rows in _BLOCKS.items()}
    return {
        place: min(known, key=lambda kind: (len(names - known[kind]), len(known[kind])))
        for place, names in units.items()
    }


def rename(state_dict: Mapping[str, Tensor], source: str, target: str) -> dict[str, Tensor]:
    """Rename the keys of a backbone, and of classifier heads beside it, from one layout to another.

    Args:
        state_dict: {key: tensor} in the layout `source`, without any prefix before the backbone's keys.
        source: A layout, one of `LAYOUTS`.
        target: Another.

    Returns:
        The same tensors, in the same order, under the keys of `target`.

    Raises:
        ValueError: Keys are neither a backbone's nor a classifier head's.
    """
    old, new = LAYOUTS.index(source), LAYOUTS.index(target)
    outside = {row[old]: row[new] for row in _OUTSIDE_BLOCKS}
    blocks = {kind: {row[old]: row[new] for row in rows} for kind, rows in _BLOCKS.items()}
    layers = {row[old]: row[new] for row in _LAYERS}
    head_layers = {row[old]: row[new] for row in _HEAD_LAYERS}
    kinds = _kinds(state_dict, source)

    def renamed(key: str) -> str | None:
        if match := _BLOCK_KEY[source].fullmatch(key):
            stage, block, rest = match.groups()
            unit, layer, parameter = _split(rest)
            unit = blocks.get(kinds.get((stage, block)), {}).get(unit)
            if unit is None or layer not in ('', *layers):
                return None
            return _BLOCK[target].format(stage, block, f'{unit}.{layers[layer]}.{parameter}' if layer else unit)
        unit, layer, parameter = _split(key)
        table = head_layers if _HEAD_KEY[source].fullmatch(key) else layers
        return f'{outside[unit]}.{table[layer]}.{parameter}' if unit in outside and layer in table else None

    names = {key: renamed(key) for key in state_dict}
    unknown = [key for key, name in names.items() if name is None]
    if unknown:
        raise UserError(
            f'{_few(unknown)} of {len(names)} keys are neither an iFormer backbone nor a known head '
            f'in the layout {source!r}, which the other keys have'
        )
    return {names[key]: tensor for key, tensor in state_dict.items()}


def recognise(keys: Iterable[str]) -> tuple[str, str]:
    """The layout of a file, and the prefix of its backbone.

    Args:
        keys: The keys of a state dict.

    Returns:
        One of `LAYOUTS`, and what stands before the backbone's keys, such as `''` or `'backbone.'`.

    Raises:
        ValueError: There is no iFormer backbone, or more than one.
    """
    keys = list(keys)
    found = {
        (layout, match.group(1)) for key in keys for layout in LAYOUTS if (match := _STEM_KEY[layout].fullmatch(key))
    }
    if not found:
        raise UserError(
            f'no iFormer backbone in any of the layouts {", ".join(LAYOUTS)} is among these keys: {_few(keys)}'
        )
    if len(found) > 1:
        prefixes = ', '.join(repr(prefix) for _, prefix in sorted(found, key=lambda item: item[1]))
        raise UserError(f'more than one iFormer backbone is among the keys, with the prefixes {prefixes}; choose one')
    return found.pop()


def state_dict_of(checkpoint: Mapping) -> dict[str, Tensor]:
    """{key: tensor} of what a weight file holds; it may lie under `state_dict` (MMEngine) or `model` (released).

    Raises:
        ValueError: There is none.
    """
    state_dict = next((checkpoint[key] for key in ('state_dict', 'model') if key in checkpoint), checkpoint)
    if not isinstance(state_dict, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state_dict.values()):
        raise UserError(
            "no state dict is in the file, neither as a whole nor under 'state_dict' or 'model'. "
            f'Its keys: {_few(map(str, checkpoint))}'
        )
    # torch's data-parallel wrappers and compiled modules put their own name before every key.
    for wrapper in ('module.', '_orig_mod.'):
        if state_dict and all(key.startswith(wrapper) for key in state_dict):
            state_dict = {key.removeprefix(wrapper): tensor for key, tensor in state_dict.items()}
    return dict(state_dict)


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
        ValueError: The file holds no iFormer, or keys that are no part of one.
    """
    source, prefix = recognise(state_dict)
    heads = {key for key in state_dict if _HEAD_KEY[source].fullmatch(key)}
    if heads and prefix != ('backbone.' if source == 'mmiformer' else ''):
        heads = set()  # a detector or segmentor, whose own head is called so
    bare = {}  # {key in the file: key without prefix} of all that has a layout
    for key in state_dict:
        if key in heads:
            bare[key] = key
        elif key.startswith(prefix):
            bare[key] = key.removeprefix(prefix)
    others = [key for key in state_dict if key not in bare]
    if heads and others:
        raise UserError(f'{_few(others)} of {len(state_dict)} keys are no part of a classifier (layout {source!r})')

    tensors = {bare[key]: state_dict[key] for key in bare}
    names = dict(zip(bare, rename(tensors, source, target), strict=True))
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
    kinds = _kinds(state_dict, 'mmiformer')
    stages = range(1 + max((int(stage) for stage, _ in kinds), default=-1))
    runs = [
        [kind for _, kind in sorted((int(block), kind) for (s, block), kind in kinds.items() if int(s) == stage)]
        for stage in stages
    ]

    def widths(kind: str, unit: str, stage: int | None = None) -> tuple[int, int]:
        """Output and input channels of a unit in the first such block; zeros where there is none."""
        for (s, block), found in kinds.items():
            weight = state_dict.get(f'stages.{s}.blocks.{block}.{unit}.conv.weight')
            if found == kind and stage in (None, int(s)) and weight is not None and weight.ndim == 4:
                return tuple(weight.shape[:2])
        return 0, 0

    def ratio(kind: str) -> int:
        wide, narrow = widths(kind, 'expand')
        return wide // narrow if narrow else 0

    stem = state_dict.get('stem.0.conv.weight')
    last_conv_blocks = tuple(run[::-1].index('FFN') if 'FFN' in run else 0 for run in runs)
    return dict(
        stem_channels=0 if stem is None or stem.ndim != 4 else stem.shape[0],
        channels=tuple(max(widths(kind, 'project', stage)[0] for kind in ('conv block', 'FFN')) for stage in stages),
        conv_blocks=tuple(run.count('conv block') - last for run, last in zip(runs, last_conv_blocks, strict=True)),
        triples=tuple(run.count('CPE') for run in runs),
        last_conv_blocks=last_conv_blocks,
        head_dims=tuple(widths('SHMA', 'q', stage)[0] for stage in stages),
        conv_ratio=ratio('conv block'),
        ffn_ratio=ratio('FFN'),
    )


def _named(fields: Mapping) -> str | dict:
    """The name of the variant that has these fields of `arch_fields`; the fields themselves if none has."""
    from .iformer import ARCHS  # iformer.py imports this module

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
    arch = _named(arch_fields(state_dict))
    if isinstance(arch, dict) and any(key.endswith('.gamma') for key in state_dict):
        arch['layer_scale'] = 1e-6
    return arch


def _faults(module: nn.Module, state_dict: Mapping[str, Tensor]) -> str:
    """What keeps `state_dict`, in our layout, from being the module's; '' if nothing does."""
    expected = module.state_dict()
    missing = [key for key in expected if key not in state_dict and not key.endswith('num_batches_tracked')]
    unexpected = [key for key in state_dict if key not in expected]
    misshapen = [
        f'{key}: {tuple(state_dict[key].shape)} instead of {tuple(tensor.shape)}'
        for key, tensor in expected.items()
        if key in state_dict and state_dict[key].shape != tensor.shape
    ]
    faults = {'missing': missing, 'unexpected': unexpected, 'of another shape': misshapen}
    return '; '.join(f'{fault}: {_few(keys)}' for fault, keys in faults.items() if keys)


def _misfit(module: nn.Module, layout: str, faults: str, found: str, wanted: str) -> ValueError:
    advice = f'. The weights are of {found}, this network is {wanted}' if found != wanted else ''
    return ValueError(
        f'The weights, in the layout {layout!r} by their keys, do not fit this {type(module).__name__}; '
        f'by their keys in our layout, {faults}{advice}'
    )


def _under(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """{key without prefix: tensor} of the keys under `prefix`."""
    return {key.removeprefix(prefix): tensor for key, tensor in state_dict.items() if key.startswith(prefix)}


def _replace(module: nn.Module, state_dict: dict, prefix: str, fitting: Mapping[str, Tensor]) -> None:
    """Put `fitting`, in our layout, in the place of all keys of `state_dict` under `prefix`."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        del state_dict[key]
    for key, tensor in module.state_dict().items():
        # Only the counters of batch norms, which old versions of torch did not have, may be missing.
        state_dict[prefix + key] = fitting[key] if key in fitting else torch.zeros_like(tensor)


def _layout_here(state_dict: Mapping[str, Tensor], prefix: str) -> str:
    """The layout of a state dict, taken from under `prefix`, which must have its backbone without another prefix."""
    where = f'under {prefix!r}' if prefix else 'without a prefix'
    advice = "init_cfg=dict(type='Pretrained', checkpoint=...) of the backbone finds a backbone wherever a file has it"
    if not state_dict:
        raise UserError(f'There are no keys {where}, where this model has its iFormer. {advice}')
    layout, inner = recognise(state_dict)
    if inner:
        raise UserError(f'The iFormer of these keys lies under {prefix + inner!r}, this model has it {where}. {advice}')
    return layout


def _check_form(backbone: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Check that weights of the deploy form go into that form, and others not."""
    deployed = 'stem.0.conv.bias' in weights  # of a batch norm that is folded
    if deployed and not backbone.deploy:
        raise UserError(
            "The weights are of IFormer's deploy form, which cannot be undone: build the backbone with deploy=True"
        )
    if backbone.deploy and not deployed:
        raise UserError(
            'This IFormer is in its deploy form, the weights are of the form that is trained: load them into one '
            'that is built without deploy=True, then call its switch_to_deploy()'
        )


def adapt_state_dict(backbone: nn.Module, state_dict: dict, prefix: str) -> None:
    """Bring a backbone's keys in a state dict to our layout, in place, and check that they are the network's.

    `IFormer` calls it from `_load_from_state_dict`, by which all loading goes: torch's, the Runner's `load_from` and
    `resume`, the inferencers'. Stages that are not built and classifier heads are left aside. A misfit is an error even
    where the caller loads non-strictly, since MMEngine would log it and go on with random weights.

    Args:
        backbone: The `IFormer`.
        state_dict: {key: tensor}, the backbone's keys in any layout; may hold other modules' keys too.
        prefix: What stands before the backbone's keys, such as `'backbone.'`.

    Raises:
        ValueError: Keys are missing, unexpected or of another shape, or are of no known layout.
    """
    weights = _under(state_dict, prefix)
    layout = _layout_here(weights, prefix)
    _check_form(backbone, weights)
    if layout != 'mmiformer':
        weights = {key: tensor for key, tensor in weights.items() if not _HEAD_KEY[layout].fullmatch(key)}
        weights = rename(weights, layout, 'mmiformer')
    stage = re.compile(r'stages\.(\d+)\.')
    built = {
        key: tensor
        for key, tensor in weights.items()
        if not (match := stage.match(key)) or int(match.group(1)) < len(backbone.stages)
    }
    if faults := _faults(backbone, built):
        if backbone.deploy:
            raise _misfit(backbone, 'deploy', faults, '', '')
        fields = arch_fields(weights)
        wanted = {key: getattr(backbone.arch, key) for key in fields}
        raise _misfit(backbone, layout, faults, f'arch={_named(fields)!r}', f'arch={_named(wanted)!r}')
    _replace(backbone, state_dict, prefix, built)


def adapt_classifier_state_dict(classifier: nn.Module, state_dict: dict, prefix: str) -> None:
    """Bring a classifier's keys in a state dict to our layout, as :func:`adapt_state_dict` does a backbone's.

    Args:
        classifier: The `IFormerClassifier`.
        state_dict: {key: tensor}, the classifier's keys in any layout.
        prefix: What stands before the classifier's keys.

    Raises:
        ValueError: Keys are missing, unexpected or of another shape, or are of no known layout.
    """
    weights = _under(state_dict, prefix)
    layout = 'mmiformer'
    if not any(key.startswith('backbone.') for key in weights):
        layout = _layout_here(weights, prefix)
        weights = convert(weights, 'mmiformer')
    if faults := _faults(classifier, weights):
        fields = arch_fields(_under(weights, 'backbone.'))
        wanted = {key: getattr(classifier.backbone.arch, key) for key in fields}
        distilled = any(key.startswith('head_dist.') for key in weights)
        found = f'arch={_named(fields)!r}, distillation={distilled}'
        wanted = f'arch={_named(wanted)!r}, distillation={classifier.distillation}'
        raise _misfit(classifier, layout, faults, found, wanted)
    _replace(classifier, state_dict, prefix, weights)


def backbone_of(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A backbone's part of a whole file, without its prefix and in its own layout.

    Raises:
        ValueError: The file holds no iFormer backbone or several, or, beside it, what is neither neck nor known head.
    """
    layout, prefix = recognise(state_dict)
    unknown = [key for key in state_dict if not key.startswith(prefix) and not _TASK_PART.match(key)]
    if unknown:
        raise UserError(
            f'{_few(unknown)} keys beside the backbone (layout {layout!r}, prefix {prefix!r}) are neither a neck nor a '
            f'known head. If they may be left aside, ask for the backbone alone with prefix={prefix!r}'
        )
    return _under(state_dict, prefix)


def load_pretrained(
    module: nn.Module, checkpoint: str, prefix: str | None = None, map_location: str | torch.device = 'cpu'
) -> None:
    """Load a weight file strictly; into a backbone its backbone alone, into a classifier the heads too.

    Args:
        module: An `IFormer` or an `IFormerClassifier`.
        checkpoint: A path, a URL, or the name of a published file, in any layout.
        prefix: What stands before the module's keys in the file, where it cannot be found out: several iFormers are in
            it, or parts beside the backbone that are neither neck nor known head.
        map_location: The device that the file's tensors go to first.

    Raises:
        FileNotFoundError: The file cannot be had.
        ValueError: It does not hold this network's weights, or beside a backbone what is neither neck nor known head.
    """
    content = files.load(checkpoint, map_location)
    try:
        state_dict = state_dict_of(content)
        if prefix:
            state_dict = _under(state_dict, f'{prefix.removesuffix(".")}.')
        elif not hasattr(module, 'backbone'):
            state_dict = backbone_of(state_dict)
        module.load_state_dict(state_dict)
    except ValueError as error:
        raise UserError(f'{checkpoint}: {error}') from error


def init_pretrained(module: nn.Module) -> bool:
    """Load what a module's `init_cfg` calls `Pretrained`, if anything; says whether there was.

    MMEngine would load it non-strictly, and unpickle whatever the file holds.
    """
    cfgs = [module.init_cfg] if isinstance(module.init_cfg, dict) else module.init_cfg
    pretrained = [cfg for cfg in cfgs if cfg['type'] == 'Pretrained']
    for cfg in pretrained:
        load_pretrained(module, **{key: value for key, value in cfg.items() if key != 'type'})
    return bool(pretrained)
