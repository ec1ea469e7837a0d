"""timm's networks as backbones. timm comes with the extra `peers` and is imported when one is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import few
from ..registry import MODELS
from .baseline import METAFORMER_KEYS, Baseline, rename
from .blocks import freeze_statistics

# Keys of PoolFormer's code, which are mmpretrain's and mmseg's too.
_POOLFORMER_KEYS = (
    *METAFORMER_KEYS,
    (r'^patch_embed\.proj\.', 'stem.conv.'),
    (r'\.downsample\.proj\.', '.downsample.conv.'),
    (r'\.layer_scale_([12])$', r'.layer_scale\1.scale'),
    (r'^head\.', 'head.fc.'),
    (r'^norm\.', 'head.norm.'),
)
# Keys of RepViT's code, by what a member of its list `features` is.
_REPVIT_KEYS = {
    'stem': ((r'\.0\.', '.conv1.'), (r'\.2\.', '.conv2.')),
    'block': (
        (r'\.token_mixer\.0\.', '.token_mixer.'),
        (r'\.token_mixer\.1\.', '.se.'),
        (r'\.channel_mixer\.m\.0\.', '.channel_mixer.conv1.'),
        (r'\.channel_mixer\.m\.2\.', '.channel_mixer.conv2.'),
    ),
    'downsample': (
        (r'\.token_mixer\.0\.', '.spatial_downsample.'),
        (r'\.token_mixer\.2\.', '.channel_downsample.'),
        (r'\.channel_mixer\.m\.0\.', '.ffn.conv1.'),
        (r'\.channel_mixer\.m\.2\.', '.ffn.conv2.'),
    ),
    'head': ((r'^classifier\.classifier', 'head.head'),),
}


def from_poolformer(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's keys for those of PoolFormer's code; the norms on its outputs become `output_norms`."""
    return rename(state_dict, _POOLFORMER_KEYS)


def from_repvit(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's keys for those of RepViT's code.

    Its list `features` holds the stem, then blocks and downsampling in the order in which they run. timm has the block
    before a downsampling within that (`pre_block`).
    """
    downsampling = sorted({int(key.split('.')[1]) for key in state_dict if key.endswith('.token_mixer.0.c.weight')})

    def place(number: int) -> tuple[str, str]:
        stage = sum(number >= first for first in downsampling)
        if number == 0:
            return 'stem', 'stem'
        if number in downsampling:
            return f'stages.{stage}.downsample', 'downsample'
        if number + 1 in downsampling:
            return f'stages.{stage + 1}.downsample.pre_block', 'block'
        return f'stages.{stage}.blocks.{number - 1 - max([0, *downsampling[:stage]])}', 'block'

    renamed = {}
    for key, tensor in state_dict.items():
        if key.startswith('classifier.'):
            renamed[key.replace('classifier.classifier', 'head.head')] = tensor
        else:
            number, rest = key.removeprefix('features.').split('.', 1)
            name, kind = place(int(number))
            renamed |= rename({f'{name}.{rest}': tensor}, _REPVIT_KEYS[kind])
    return renamed


def import_timm():
    """timm.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f'the networks of other papers come from timm, which cannot be imported ({error}). In a checkout of '
            'mmiformer: pip install ".[peers]"'
        ) from error
    return timm


def misses_activation(module: nn.Module) -> bool:
    """Whether a conversion has replaced a batch norm of timm that has its activation within."""
    return isinstance(module, _BatchNorm) and hasattr(module, 'act') and not type(module).__module__.startswith('timm.')


def activate(norm: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    """A forward hook that runs the activation within a batch norm."""
    return norm.act(output)


def keep_output(outputs: dict, name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
    """A forward hook that keeps a module's output under its name."""
    outputs[name] = output


def frozen_modules(names: list[str], stages: list[str], frozen_stages: int) -> tuple[str, ...]:
    """The modules of which all comes before the end of the last frozen stage.

    Args:
        names: All modules, in the order in which they run, those that hold others before them.
        stages: The modules whose outputs are the maps.
        frozen_stages: As in :class:`TimmBackbone`.
    """
    if frozen_stages < 0:
        return ()
    if frozen_stages == 0:
        end = names.index(stages[0])
    else:
        end = 1 + max(i for i, name in enumerate(names) if f'{name}.'.startswith(f'{stages[frozen_stages - 1]}.'))
    return tuple(name for name in names[1:end] if not any(later.startswith(f'{name}.') for later in names[end:]))


@MODELS.register_module()
class TimmBackbone(Baseline):
    """A network of timm with multi-scale outputs, for detection and segmentation.

    Args:
        model_name: timm's name of the network.
        out_indices: Which of timm's feature maps are returned, ascending; negative ones count from the last. Layers
            after the last of them are dropped.
        taps: Names of modules whose outputs are returned instead, in the place of one feature map each.
        output_norm: A norm on each output, which files for ImageNet do not have: 'GN1' (group norm with one group),
            'BN', 'LN' (layer norm over the channels), or None.
        frozen_stages: -1 freezes nothing, 0 what runs before the stage of the first returned map, k also the stages of
            the first k. What is frozen gets no gradient and its batch norms keep their statistics.
        norm_eval: Whether all batch norms keep their statistics in training; their scale and shift still train.
        drop_path_rate: Stochastic depth, in networks that have it; None for timm's default.
        init_cfg: `dict(type='Pretrained', checkpoint=...)` loads strictly: files of timm's hub, of RepViT's and
            PoolFormer's authors, and own checkpoints. None for timm's random initialization.

    Attributes:
        feature_info: For each output `dict(channels=..., stride=...)`.

    Raises:
        ImportError: timm is not installed.
        ValueError: An argument is not one of those described.

    Example:
        >>> import torch
        >>> from mmiformer.models import TimmBackbone
        >>> for level in TimmBackbone('repvit_m1_1').eval()(torch.rand(1, 3, 512, 512)):
        ...     print(tuple(level.shape))
        (1, 64, 128, 128)
        (1, 128, 64, 64)
        (1, 256, 32, 32)
        (1, 512, 16, 16)
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] = (-4, -3, -2, -1),
        taps: Sequence[str] | None = None,
        output_norm: str | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        drop_path_rate: float | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        timm = import_timm()
        if not timm.is_model(model_name):
            raise ValueError(f'model_name={model_name!r}: timm {timm.__version__} has no such network')
        self.model = timm.create_model(model_name, drop_path_rate=drop_path_rate)
        count = len(self.model.feature_info)
        ascending = sorted({index % count for index in out_indices})
        if [index % count for index in out_indices] != ascending or not {*out_indices} <= {*range(-count, count)}:
            raise ValueError(f'out_indices={tuple(out_indices)} must be ascending feature maps, of {count} in all')
        whole = self.model.state_dict().keys()
        self.out_indices = self.model.prune_intermediate_layers(out_indices, prune_norm=True)
        self.left_aside = {f'model.{key}' for key in whole - self.model.state_dict().keys()}
        features = [self.model.feature_info[index] for index in self.out_indices]
        self.feature_info = [dict(channels=info['num_chs'], stride=info['reduction']) for info in features]

        names = [name for name, _ in self.model.named_modules()]
        self.taps = tuple(taps or ())
        if unknown := [name for name in self.taps if name not in names]:
            raise ValueError(f'taps: {model_name} has no {few(unknown)}')
        if self.taps and len(self.taps) != len(features):
            raise ValueError(f'taps={self.taps} must be {len(features)} modules, one for each of out_indices')

        norms = dict(GN1=partial(nn.GroupNorm, 1), BN=nn.BatchNorm2d, LN=timm.layers.LayerNorm2d)
        if output_norm not in (None, *norms):
            raise ValueError(f'output_norm={output_norm!r} must be None or one of {", ".join(norms)}')
        norm = norms.get(output_norm, nn.Identity)
        self.output_norms = nn.ModuleList(norm(info['channels']) for info in self.feature_info)

        if frozen_stages not in range(-1, len(features) + 1):
            raise ValueError(f'frozen_stages={frozen_stages} must be from -1 (nothing) to {len(features)} (everything)')
        self.norm_eval = norm_eval
        self.frozen = frozen_modules(names, [info['module'] for info in features], frozen_stages)
        self._freeze()

    def own_weights(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As in :class:`Baseline`."""
        if 'features.0.0.c.weight' in published:
            published = from_repvit(published)
        elif 'network.0.0.mlp.fc1.weight' in published:
            published = from_poolformer(published)
        if not any(key.startswith('model.') for key in published):  # timm's keys
            published = {
                key if key.startswith('output_norms.') else f'model.{key}': tensor for key, tensor in published.items()
            }
        return {key: tensor for key, tensor in published.items() if key not in self.left_aside}

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Add a module, as conversions of batch norms to SyncBN and back do with what they have converted."""
        super().add_module(name, module)
        for norm in self.modules():
            if misses_activation(norm) and not norm._forward_hooks:
                norm.register_forward_hook(activate)

    def _freeze(self) -> None:
        for name in self.frozen:
            self.model.get_submodule(name).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> TimmBackbone:
        """Set training mode; frozen stages, and with `norm_eval` all batch norms, stay in evaluation mode."""
        super().train(mode)
        if mode:
            self._freeze()
            if self.norm_eval:
                freeze_statistics(self)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map normalized images (B, 3, H, W) to maps (B, C, H / stride, W / stride)."""
        tapped = {}
        with ExitStack() as hooks:  # for this pass alone, so that copies of the network have none of the original
            for name in self.taps:
                module = self.model.get_submodule(name)
                hooks.enter_context(module.register_forward_hook(partial(keep_output, tapped, name)))
            maps = self.model.forward_intermediates(
                x, indices=self.out_indices, output_fmt='NCHW', intermediates_only=True
            )
        maps = [tapped[name] for name in self.taps] or maps
        return tuple(norm(level).contiguous() for norm, level in zip(self.output_norms, maps, strict=True))
