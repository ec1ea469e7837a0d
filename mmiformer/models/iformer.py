"""iFormer: Integrating ConvNet and Transformer for Mobile Application (ICLR 2025), https://arxiv.org/abs/2501.15369.

A reader starts here: the table of variants, the stages, the backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..registry import MODELS
from . import deploy as deploy_form
from . import weights
from .blocks import CPE, FFN, SHMA, ConvBlock, ConvBN
from .exporting import exporting
from .windows import run_on_windows


class Arch(NamedTuple):
    """A variant, one column of Table 15. A tuple has one entry for each stage.

    A stage runs `conv_blocks`, then `triples` of CPE, SHMA and FFN, then `last_conv_blocks`.

    Attributes:
        stem_channels: Channels after the first convolution of the stem; the second has four times as many.
        channels: Channels C of the map.
        conv_blocks: Number of conv blocks before the triples.
        triples: Number of triples of CPE, SHMA and FFN.
        last_conv_blocks: Number of conv blocks after the triples.
        head_dims: Channels of query and key, "hd"; 0 where there is no SHMA.
        conv_ratio: Expansion ratio of the conv blocks.
        ffn_ratio: Expansion ratio of the FFNs, "r".
        windowed: Number of SHMA, from the first on, that run on windows in the released layout. None is the rule of L:
            all but the last in stage 3.
        layer_scale: Initial value of the layer scale; None for no layer scale.
    """

    stem_channels: int
    channels: tuple
    conv_blocks: tuple
    triples: tuple
    last_conv_blocks: tuple
    head_dims: tuple
    conv_ratio: int
    ffn_ratio: int
    windowed: tuple | None = None
    layer_scale: float | None = None


ARCHS = {
    't': Arch(
        stem_channels=16,
        channels=(32, 64, 128, 256),
        conv_blocks=(2, 2, 6, 0),
        triples=(0, 0, 3, 2),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 64, 64),
        conv_ratio=3,
        ffn_ratio=2,
    ),
    's': Arch(
        stem_channels=16,
        channels=(32, 64, 176, 320),
        conv_blocks=(2, 2, 9, 0),
        triples=(0, 0, 3, 2),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 88, 80),
        conv_ratio=4,
        ffn_ratio=3,
    ),
    'm': Arch(
        stem_channels=24,
        channels=(48, 96, 192, 384),
        conv_blocks=(2, 2, 9, 0),
        triples=(0, 0, 4, 2),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 96, 96),
        conv_ratio=4,
        ffn_ratio=3,
        windowed=(0, 0, 4, 0),  # the released M has no global SHMA in stage 3
    ),
    'l': Arch(
        stem_channels=24,
        channels=(48, 96, 256, 384),
        conv_blocks=(2, 2, 8, 0),
        triples=(0, 0, 8, 2),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 128, 96),
        conv_ratio=4,
        ffn_ratio=3,
        windowed=(0, 0, 7, 0),
    ),
    'l2': Arch(
        stem_channels=32,
        channels=(64, 128, 256, 512),
        conv_blocks=(3, 3, 12, 0),
        triples=(0, 0, 11, 3),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 128, 128),
        conv_ratio=4,
        ffn_ratio=3,
        windowed=(0, 0, 10, 0),
    ),
    'h': Arch(
        stem_channels=48,
        channels=(96, 192, 384, 768),
        conv_blocks=(5, 5, 14, 0),
        triples=(0, 0, 15, 6),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 384, 768),
        conv_ratio=4,
        ffn_ratio=4,
        layer_scale=1e-6,
    ),
}

# Facts of the released network that the paper does not state: truncated normal for every convolution, std 0.02.
DEFAULT_INIT = (
    dict(type='TruncNormal', layer='Conv2d', std=0.02),
    dict(type='Constant', layer=['_BatchNorm', 'GroupNorm', 'LayerNorm'], val=1.0, bias=0.0),
)


def get_arch(arch: str | dict) -> Arch:
    """The fields of a variant.

    Args:
        arch: A name in `ARCHS`, or a dict with the fields of :class:`Arch` for a network of one's own.

    Raises:
        TypeError: `arch` is neither a name nor a dict.
        ValueError: The name is unknown, or the fields are not those of a network.
    """
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f'arch={arch!r} is none of the variants {", ".join(ARCHS)}; or give a dict of its fields')
        return ARCHS[arch]
    if not isinstance(arch, dict):
        raise TypeError(f'arch must be one of {", ".join(ARCHS)} or a dict, not {arch!r}')
    required = set(Arch._fields) - set(Arch._field_defaults)
    missing, unknown = required - set(arch), set(arch) - set(Arch._fields)
    if missing or unknown:
        raise ValueError(
            f'arch: missing {sorted(missing)}, unknown {sorted(unknown)}; the fields are {", ".join(Arch._fields)}'
        )
    custom = Arch(**arch)
    stages = len(custom.channels)
    for name in ('conv_blocks', 'triples', 'last_conv_blocks', 'head_dims', 'windowed'):
        values = getattr(custom, name)
        if values is not None and len(values) != stages:
            raise ValueError(f'arch: {name}={values} has {len(values)} entries, there are {stages} stages (channels)')
    for stage, (triples, head_dim) in enumerate(zip(custom.triples, custom.head_dims, strict=True)):
        if triples and head_dim < 1:
            raise ValueError(f'arch: head_dims[{stage}]={head_dim}, but triples[{stage}]={triples} have an SHMA each')
    for stage, (triples, windowed) in enumerate(zip(custom.triples, custom.windowed or custom.triples, strict=True)):
        if windowed > triples:
            raise ValueError(f'arch: windowed[{stage}]={windowed} of triples[{stage}]={triples}')
    return custom


def window_span(arch: Arch, stage: int, layout: str) -> tuple[int, int]:
    """The blocks of a stage that run on windows, as `(start, stop)` of its list of blocks.

    Windows are cut after the first CPE, before the first SHMA. In the released layout they are joined after the last
    windowed SHMA, before its FFN; in the paper's (Table 16) before the last SHMA of the stage, after its CPE.
    """
    triples, first_cpe = arch.triples[stage], arch.conv_blocks[stage]
    if layout == 'paper':
        return (first_cpe + 1, first_cpe + 3 * triples - 2) if triples > 1 else (0, 0)
    if arch.windowed is None:
        windowed = max(triples - 1, 0) if stage == 2 else 0
    else:
        windowed = arch.windowed[stage]
    return (first_cpe + 1, first_cpe + 3 * windowed - 1) if windowed else (0, 0)


class Stage(nn.Module):
    """Downsampling, then blocks, a stretch of which may run on windows.

    Args:
        downsample: Maps (B, C', 2H, 2W) to (B, C, H, W); `nn.Identity` for the first stage.
        blocks: Each maps (B, C, H, W) to (B, C, H, W).
        span: `(start, stop)` of the blocks that run on windows.
        window_size: Side of a window; None for no windows.
        num_chunks: Channel chunks in which exported graphs cut and join windows.
        with_cp: Whether each block is checkpointed.
    """

    def __init__(
        self,
        downsample: nn.Module,
        blocks: Sequence[nn.Module],
        span: tuple[int, int],
        window_size: int | None,
        num_chunks: int,
        with_cp: bool,
    ):
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)
        self.span = span if window_size else (0, 0)
        self.window_size = window_size
        self.num_chunks = num_chunks
        self.with_cp = with_cp

    def run(self, start: int, stop: int, x: Tensor) -> Tensor:
        """Run the blocks from `start` to before `stop`."""
        for block in self.blocks[start:stop]:
            if self.with_cp and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False, **recompute_options(block))
            else:
                x = block(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C', H', W') to (B, C, H, W)."""
        x = self.downsample(x)
        start, stop = self.span
        x = self.run(0, start, x)
        if start < stop:
            x = run_on_windows(partial(self.run, start, stop), x, self.window_size, self.num_chunks)
        return self.run(stop, len(self.blocks), x)


def recompute_options(block: nn.Module) -> dict:
    """What `checkpoint` needs so that batch norms that are training see each batch once, not again when recomputed."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]

    @contextmanager
    def keep_statistics():
        saved = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        try:
            yield
        finally:
            for norm, (momentum, batches) in zip(norms, saved, strict=True):
                norm.momentum = momentum
                norm.num_batches_tracked.copy_(batches)

    return dict(context_fn=lambda: (nullcontext(), keep_statistics())) if norms else {}


@MODELS.register_module()
class IFormer(BaseModule):
    """iFormer with multi-scale outputs, for detection and segmentation.

    With `window_size=16, num_chunks=16` the attention is channel-chunked hybrid window SHMA (section F), with
    `num_chunks=1` hybrid window SHMA, with `window_size=None` global SHMA as in the classification network. All of them
    have the same weights.

    Args:
        arch: One of `t s m l l2 h`, or a dict of the fields of :class:`Arch`.
        in_channels: Channels of the image.
        out_indices: The stages, from 0 and ascending, whose maps are returned. Stages after the last are not built.
        window_size: Side of a window in pixels of the stage's map; None for global attention everywhere.
        num_chunks: Channel chunks in which exported graphs cut and join windows (equations 4 and 5); changes no result.
        window_layout: 'released', as the published weights were trained, or 'paper', as in Table 16.
        modulation: 'value' (the sigmoid of the context branch is on the value, as the published weights need it) or
            'context' (it is on the attention's output, equation 3).
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0 over all blocks, CPE counted. The
            CPE itself is never dropped. In a windowed stretch each window is dropped for itself.
        layer_scale_init_value: Initial value of the layer scale; 0 for none, None for what `arch` has (H: 1e-6).
        frozen_stages: -1 freezes nothing, 0 the stem, k the stem and the stages up to the k-th with their downsampling.
            What is frozen gets no gradient and its batch norms keep their statistics.
        norm_eval: Whether all batch norms keep their statistics in training; their scale and shift still train.
        with_cp: Whether each block's activations are computed again in the backward pass instead of kept.
        norm_cfg: Config of the norms.
        act_cfg: Config of the activations; attention always has sigmoids.
        deploy: Whether it is built in its deploy form, to load weights that were saved from that form; see
            :meth:`switch_to_deploy`.
        init_cfg: MMEngine's initialisation. `dict(type='Pretrained', checkpoint=...)` loads released, timm's or own
            weights strictly: a missing or unexpected key of the backbone is an error. Default: truncated normal with
            std 0.02 for convolutions, 1 and 0 for norms.

    Attributes:
        feature_info: For each stage of the variant, `dict(channels=..., stride=...)`.

    Raises:
        TypeError, ValueError: An argument is not one of those described.

    Example:
        >>> import torch
        >>> from mmiformer.models import IFormer
        >>> for level in IFormer(arch='m').eval()(torch.rand(1, 3, 512, 512)):
        ...     print(tuple(level.shape))
        (1, 48, 128, 128)
        (1, 96, 64, 64)
        (1, 192, 32, 32)
        (1, 384, 16, 16)
    """

    def __init__(
        self,
        arch: str | dict = 'm',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        window_size: int | None = 16,
        num_chunks: int = 16,
        window_layout: str = 'released',
        modulation: str = 'value',
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict = dict(type='BN'),  # noqa: B006, the convention of OpenMMLab; never changed
        act_cfg: dict = dict(type='GELU'),  # noqa: B006
        deploy: bool = False,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg=DEFAULT_INIT if init_cfg is None else init_cfg)
        arch = get_arch(arch)
        self._check(out_indices, len(arch.channels), window_size, num_chunks, drop_path_rate, frozen_stages)
        if window_layout not in ('released', 'paper'):
            raise ValueError(f"window_layout={window_layout!r} must be 'released' or 'paper'")
        if modulation not in ('value', 'context'):
            raise ValueError(f"modulation={modulation!r} must be 'value' or 'context'")
        self.arch = arch
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.feature_info = [
            dict(channels=channels, stride=4 * 2**stage) for stage, channels in enumerate(arch.channels)
        ]

        conv_bn = partial(ConvBN, norm_cfg=norm_cfg)
        middle = arch.stem_channels
        self.stem = nn.Sequential(
            conv_bn(in_channels, middle, 5, stride=2, act_cfg=act_cfg),
            conv_bn(middle, 4 * middle, 5, stride=2, act_cfg=act_cfg),
            conv_bn(4 * middle, arch.channels[0], 1),
        )

        layer_scale = arch.layer_scale if layer_scale_init_value is None else layer_scale_init_value or None
        num_blocks = sum(arch.conv_blocks) + 3 * sum(arch.triples) + sum(arch.last_conv_blocks)
        drop_paths = (drop_path_rate * block / max(num_blocks - 1, 1) for block in range(num_blocks))

        def conv_blocks(channels: int, number: int) -> list[nn.Module]:
            return [
                ConvBlock(channels, arch.conv_ratio, norm_cfg, act_cfg, next(drop_paths), layer_scale)
                for _ in range(number)
            ]

        def triple(channels: int, head_dim: int) -> list[nn.Module]:
            next(drop_paths)  # the CPE's, which is never dropped
            return [
                CPE(channels, norm_cfg),
                SHMA(channels, head_dim, norm_cfg, modulation, next(drop_paths), layer_scale),
                FFN(channels, arch.ffn_ratio, norm_cfg, act_cfg, next(drop_paths), layer_scale),
            ]

        self.stages = nn.ModuleList()
        for i in range(self.out_indices[-1] + 1):
            channels = arch.channels[i]
            blocks = conv_blocks(channels, arch.conv_blocks[i])
            for _ in range(arch.triples[i]):
                blocks += triple(channels, arch.head_dims[i])
            blocks += conv_blocks(channels, arch.last_conv_blocks[i])
            downsample = conv_bn(arch.channels[i - 1], channels, 3, stride=2) if i else nn.Identity()
            span = window_span(arch, i, window_layout)
            self.stages.append(Stage(downsample, blocks, span, window_size, num_chunks, with_cp))

        self.deploy = False
        if deploy:
            self.switch_to_deploy()
        self._freeze()

    @staticmethod
    def _check(out_indices, stages, window_size, num_chunks, drop_path_rate, frozen_stages):
        if isinstance(out_indices, int):
            raise TypeError(f'out_indices={out_indices} must be a sequence, such as ({out_indices},)')
        allowed = range(stages)
        if not out_indices or list(out_indices) != sorted(set(out_indices)) or not set(out_indices) <= set(allowed):
            raise ValueError(f'out_indices={tuple(out_indices)} must be ascending stages out of {tuple(allowed)}')
        if window_size is not None and window_size < 1:
            raise ValueError(f'window_size={window_size} must be positive, or None for global attention')
        if num_chunks < 1:
            raise ValueError(f'num_chunks={num_chunks} must be positive; 1 is for no chunking')
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate={drop_path_rate} must be at least 0 and under 1')
        if frozen_stages not in range(-1, stages + 1):
            raise ValueError(f'frozen_stages={frozen_stages} must be from -1 (nothing) to {stages} (everything)')

    def init_weights(self) -> None:
        """Initialise as `init_cfg` says; pretrained weights are loaded strictly.

        Raises:
            OSError, ValueError: The checkpoint cannot be had, or does not hold this network's weights.
        """
        if self.is_init or not weights.init_pretrained(self):
            super().init_weights()
        self.is_init = True

    def switch_to_deploy(self) -> None:
        """Turn into the deploy form, in place: for inference alone, faster, with the same outputs.

        What can be folded is folded and all parameters are frozen, so there is no way back and no training. The state
        dict has other keys: `IFormer(..., deploy=True)` loads it. A second call does nothing.

        Raises:
            ValueError: A norm is no batch norm with running statistics.
        """
        if self.deploy:
            return
        deploy_form.check(self)
        self.eval()
        deploy_form.switch(self)
        self.deploy = True

    def _load_from_state_dict(self, state_dict, prefix, *args):
        # Every way of loading comes through here, so released and timm's weights load wherever ours do.
        weights.adapt_state_dict(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _freeze(self) -> None:
        if self.frozen_stages >= 0:
            for module in (self.stem, *self.stages[: self.frozen_stages]):
                module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> IFormer:
        """Set training mode; frozen stages, and with `norm_eval` all batch norms, stay in evaluation mode.

        Raises:
            RuntimeError: The network is in its deploy form.
        """
        if mode and self.deploy:
            raise RuntimeError(
                'this IFormer is in its deploy form, which is for inference only: train one that is built without '
                'deploy=True and was never given switch_to_deploy()'
            )
        super().train(mode)
        if mode:
            self._freeze()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images to feature maps.

        Args:
            x: Normalised images (B, in_channels, H, W), H and W from 32 up.

        Returns:
            For each stage of `out_indices` its map (B, C, ceil(H / stride), ceil(W / stride)), contiguous, without a
            norm on it.
        """
        if not exporting():
            x = x.contiguous(memory_format=torch.channels_last)  # and stays so in all layers
        x = self.stem(x)
        outputs = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.out_indices:
                outputs.append(x.contiguous())  # mmcv's operators, such as RoIAlign, read wrong from channels-last maps
        return tuple(outputs)
