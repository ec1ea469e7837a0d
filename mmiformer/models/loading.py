"""Loading weights into modules: safely, strictly, and whichever layout their keys have."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from .. import checkpoint as files
from ..errors import UserError, few
from .layouts import arch_fields, convert, name_of, recognize, rename, without_heads

# Parts of the toolboxes' detectors and segmentors that a backbone leaves aside.
_TASK_PART = re.compile(r'(?:neck|data_preprocessor|\w*head\w*)\.')


def state_dict_of(checkpoint: Mapping) -> dict[str, Tensor]:
    """{key: tensor} of what a weight file holds; it may lie under `state_dict` (MMEngine) or `model` (released).

    Raises:
        UserError: There is none, or not all in it are plain numbers.
    """
    state_dict = next((checkpoint[key] for key in ('state_dict', 'model') if key in checkpoint), checkpoint)
    if not isinstance(state_dict, Mapping) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in state_dict.items()
    ):
        raise UserError(
            "no state dict is in the file, neither as a whole nor under 'state_dict' or 'model'. "
            f'Its keys: {few(checkpoint)}'
        )
    if strange := [key for key, tensor in state_dict.items() if not _is_plain(tensor)]:
        raise UserError(
            f'{len(strange)} of the {len(state_dict)} weights in the file are sparse, nested, quantized, complex or '
            f'without values: {few(strange)}. Save them as plain tensors'
        )
    # torch's data-parallel wrappers and compiled modules put their own name before every key.
    for wrapper in ('module.', '_orig_mod.'):
        if state_dict and all(key.startswith(wrapper) for key in state_dict):
            state_dict = {key.removeprefix(wrapper): tensor for key, tensor in state_dict.items()}
    return dict(state_dict)


def _is_plain(tensor: Tensor) -> bool:
    """Whether a module's parameter takes its values from it; torch passes over some of the others in silence."""
    is_dense = tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_meta
    return is_dense and not tensor.is_quantized and not tensor.is_complex()


def under(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """{key without prefix: tensor} of the keys under `prefix`."""
    return {key.removeprefix(prefix): tensor for key, tensor in state_dict.items() if key.startswith(prefix)}


def faults(module: nn.Module, state_dict: Mapping[str, Tensor]) -> str:
    """What keeps `state_dict` from being the module's; '' if nothing does.

    Only the counters of batch norms may be missing, which old versions of torch did not have.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in state_dict and not key.endswith('num_batches_tracked')]
    unexpected = [key for key in state_dict if key not in expected]
    misshapen = [
        f'{key}: {tuple(state_dict[key].shape)} instead of {tuple(tensor.shape)}'
        for key, tensor in expected.items()
        if key in state_dict and state_dict[key].shape != tensor.shape
    ]
    kinds = {'missing': missing, 'unexpected': unexpected, 'of another shape': misshapen}
    return '; '.join(f'{kind}: {len(keys)} ({few(keys)})' for kind, keys in kinds.items() if keys)


def _misfit(module: nn.Module, layout: str, wrong: str, found: str = '', wanted: str = '') -> UserError:
    advice = f'. The weights are of {found}, this network is {wanted}' if found != wanted else ''
    return UserError(
        f'The weights, in the layout {layout!r} by their keys, do not fit this {type(module).__name__}; '
        f'by their keys in our layout, {wrong}{advice}'
    )


def replace(module: nn.Module, state_dict: dict, prefix: str, fitting: Mapping[str, Tensor]) -> None:
    """Put `fitting`, in our layout, in the place of all keys of `state_dict` under `prefix`."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        del state_dict[key]
    for key, tensor in module.state_dict().items():
        state_dict[prefix + key] = fitting[key] if key in fitting else torch.zeros_like(tensor)


def _layout_here(state_dict: Mapping[str, Tensor], prefix: str) -> str:
    """The layout of a state dict, taken from under `prefix`, which must have its backbone without another prefix."""
    where = f'under {prefix!r}' if prefix else 'without a prefix'
    advice = "init_cfg=dict(type='Pretrained', checkpoint=...) of the backbone finds a backbone wherever a file has it"
    if not state_dict:
        raise UserError(f'There are no keys {where}, where this model has its iFormer. {advice}')
    layout, inner = recognize(state_dict)
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
        UserError: Keys are missing, unexpected or of another shape, or are of no known layout.
    """
    weights = under(state_dict, prefix)
    layout = _layout_here(weights, prefix)
    _check_form(backbone, weights)
    if layout != 'mmiformer':
        weights = rename(without_heads(weights, layout), layout, 'mmiformer')
    later = tuple(f'stages.{stage}.' for stage in range(len(backbone.stages), len(backbone.arch.channels)))
    built = {key: tensor for key, tensor in weights.items() if not key.startswith(later)}
    if wrong := faults(backbone, built):
        if backbone.deploy:
            raise _misfit(backbone, 'deploy', wrong)
        fields = arch_fields(weights)
        wanted = {key: getattr(backbone.arch, key) for key in fields}
        raise _misfit(backbone, layout, wrong, f'arch={name_of(fields)!r}', f'arch={name_of(wanted)!r}')
    replace(backbone, state_dict, prefix, built)


def adapt_classifier_state_dict(classifier: nn.Module, state_dict: dict, prefix: str) -> None:
    """Bring a classifier's keys in a state dict to our layout, as :func:`adapt_state_dict` does a backbone's.

    Args:
        classifier: The `IFormerClassifier`.
        state_dict: {key: tensor}, the classifier's keys in any layout.
        prefix: What stands before the classifier's keys.

    Raises:
        UserError: Keys are missing, unexpected or of another shape, or are of no known layout.
    """
    weights = under(state_dict, prefix)
    layout = 'mmiformer'
    if not any(key.startswith('backbone.') for key in weights):
        layout = _layout_here(weights, prefix)
        weights = convert(weights, 'mmiformer')
    if wrong := faults(classifier, weights):
        fields = arch_fields(under(weights, 'backbone.'))
        wanted = {key: getattr(classifier.backbone.arch, key) for key in fields}
        distilled = any(key.startswith('head_dist.') for key in weights)
        found = f'arch={name_of(fields)!r}, distillation={distilled}'
        wanted = f'arch={name_of(wanted)!r}, distillation={classifier.distillation}'
        raise _misfit(classifier, layout, wrong, found, wanted)
    replace(classifier, state_dict, prefix, weights)


def backbone_of(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A backbone's part of a whole file, without its prefix and in its own layout.

    Raises:
        UserError: The file holds no iFormer backbone or several, or, beside it, what is neither neck nor known head.
    """
    layout, prefix = recognize(state_dict)
    unknown = [key for key in state_dict if not key.startswith(prefix) and not _TASK_PART.match(key)]
    if unknown:
        raise UserError(
            f'{len(unknown)} ({few(unknown)}) keys beside the backbone (layout {layout!r}, prefix {prefix!r}) are '
            'neither a neck nor a known head. If they may be left aside, ask for the backbone alone with '
            f'prefix={prefix!r}'
        )
    return under(state_dict, prefix)


def load_pretrained(
    module: nn.Module,
    checkpoint: str,
    prefix: str | None = None,
    map_location: str | torch.device = 'cpu',
    trust: bool = False,
) -> None:
    """Load a weight file strictly; into a backbone its backbone alone, into a classifier the heads too.

    Args:
        module: An `IFormer`, an `IFormerClassifier`, or another paper's backbone, which has a `backbone_of` of its own.
        checkpoint: A path, a URL, or the name of a published file, in any layout.
        prefix: What stands before the module's keys in the file, where it cannot be found out: several iFormers are in
            it, or parts beside the backbone that are neither neck nor known head.
        map_location: The device that the file's tensors go to first.
        trust: As in `mmiformer.checkpoint.load`.

    Raises:
        MissingFile: The file cannot be had.
        UserError: It does not hold this network's weights, or beside a backbone what is neither neck nor known head.
    """
    content = files.load(checkpoint, map_location, trust)
    try:
        state_dict = state_dict_of(content)
        if prefix:
            state_dict = under(state_dict, f'{prefix.removesuffix(".")}.')
        elif not hasattr(module, 'backbone'):
            state_dict = getattr(module, 'backbone_of', backbone_of)(state_dict)
        module.load_state_dict(state_dict)
    except UserError as error:
        raise UserError(f'{checkpoint}: {error}') from error


def init_pretrained(module: nn.Module) -> bool:
    """Load what a module's `init_cfg` calls `Pretrained`, if anything; says whether there was.

    MMEngine would load it non-strictly, and unpickle whatever the file holds.
    """
    cfgs = [module.init_cfg] if isinstance(module.init_cfg, dict) else module.init_cfg or []
    pretrained = [cfg for cfg in cfgs if cfg['type'] == 'Pretrained']
    for cfg in pretrained:
        load_pretrained(module, **{key: value for key, value in cfg.items() if key != 'type'})
    return bool(pretrained)


class PretrainedModule(BaseModule):
    """A module whose `init_cfg` loads pretrained weights strictly, by :func:`load_pretrained`."""

    def init_weights(self) -> None:
        """Initialize as `init_cfg` says; pretrained weights are loaded strictly.

        Raises:
            MissingFile: The checkpoint cannot be had.
            UserError: It does not hold this network's weights.
        """
        if self.is_init or not init_pretrained(self):
            super().init_weights()
        self.is_init = True
