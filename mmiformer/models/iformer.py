"""iFormer: Integrating ConvNet and Transformer for Mobile Application (ICLR 2025), https://arxiv.org/abs/2501.15369.

A reader starts here: the stages and the backbone; `arch.py` has the table of variants, `blocks.py` the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..registry import MODELS
from . import deploy as deploy_form
from . import loading
from .arch import get_arch, stage_kinds, window_span
from .arguments import check_cfg, check_flag, check_number, check_whole
from .blocks import BLOCKS, ConvBN, freeze_statistics
from .windows import partition, reverse

# Facts of the released network that the paper does not state: truncated normal for every convolution, std 0.02.
DEFAULT_INIT = (
    dict(type='TruncNormal', layer='Conv2d', std=0.02),
    dict(type='Constant', layer=['_BatchNorm', 'GroupNorm', 'LayerNorm'], val=1.0, bias=0.0),
)


class Stage(nn.Module):
    """Downsampling, then blocks, a stretch of which may run on windows.

    Args:
        downsample: Maps (B, C', 2H, 2W) to (B, C, H, W); `nn.Identity` for the first stage.
        blocks: Each maps (B, C, H, W) to (B, C, H, W).
        span: `(start, stop)` of the blocks that run on windows.
        window_size: Side of a window; None for no windows.
        with_cp: Whether each block is checkpointed.
    """

    def __init__(
        self,
        downsample: nn.Module,
        blocks: Sequence[nn.Module],
        span: tuple[int, int],
        window_size: int | None,
        with_cp: bool,
    ):
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)
        self.span = span if window_size else (0, 0)
        self.window_size = window_size
        self.with_cp = with_cp

    def run(self, x: Tensor, start: int, stop: int) -> Tensor:
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
        x = self.run(x, 0, start)
        if start < stop:
            height, width = x.shape[-2:]
            x = partition(x, self.window_size)  # (B nH nW, C, ws, ws)
            x = self.run(x, start, stop)
            x = reverse(x, height, width)  # (B, C, H, W)
        return self.run(x, stop, len(self.blocks))


def recompute_options(block: nn.Module) -> dict:
    """What `checkpoint` needs so that batch norms that are training see each batch once, not again when recomputed."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    return dict(context_fn=lambda: (nullcontext(), keep_statistics(norms))) if norms else {}


@contextmanager
def keep_statistics(norms: Sequence[nn.Module]) -> Iterator[None]:
    """Let batch norms that are training leave their statistics as they are."""
    saved = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, saved, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)


@MODELS.register_module()
class IFormer(loading.PretrainedModule):
    """iFormer with multi-scale outputs, for detection and segmentation.

    With `window_size=16, num_chunks=16` the attention is channel-chunked hybrid window SHMA (section F), with
    `num_chunks=1` hybrid window SHMA, with `window_size=None` global SHMA as in the classification network. All of them
    have the same weights.

    Args:
        arch: One of `t s m l l2 h`, or a dict of the fields of :class:`Arch`.
        in_channels: Channels of the image.
        out_indices: The stages, from 0 and ascending, whose maps are returned. Stages after the last are not built.
        window_size: Side of a window in pixels of the stage's map; None for global attention everywhere.
        num_chunks: Channel chunks in which the export form cuts and joins windows (equations 4 and 5). Changes no
            result; torch itself, which only loses time by chunks, cuts all channels at once.
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
        init_cfg: MMEngine's initialization. `dict(type='Pretrained', checkpoint=...)` loads released, timm's or own
            weights strictly: a missing or unexpected key of the backbone is an error. Default: truncated normal with
            std 0.02 for convolutions, 1 and 0 for norms.

    Attributes:
        block_types: Class of each kind of block that :func:`~mmiformer.models.arch.stage_kinds` names.
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

    block_types = BLOCKS

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
        arch = get_arch(arch)
        self._check(out_indices, len(arch.channels), drop_path_rate)
        check_whole('in_channels', in_channels)
        if window_size is not None:
            check_whole('window_size', window_size, also=', or None for global attention')
        check_whole('num_chunks', num_chunks, also='; 1 is for no chunking')
        if window_layout not in ('released', 'paper'):
            raise ValueError(f"window_layout={window_layout!r} must be 'released' or 'paper'")
        if modulation not in ('value', 'context'):
            raise ValueError(f"modulation={modulation!r} must be 'value' or 'context'")
        if layer_scale_init_value is not None:
            check_number('layer_scale_init_value', layer_scale_init_value, 'at least 0; 0 is for no layer scale')
        everything = len(arch.channels)
        check_whole('frozen_stages', frozen_stages, -1, everything, f': -1 is for nothing, {everything} for everything')
        for name, flag in (('norm_eval', norm_eval), ('with_cp', with_cp), ('deploy', deploy)):
            check_flag(name, flag)
        check_cfg('norm_cfg', norm_cfg)
        check_cfg('act_cfg', act_cfg)
        for cfg in init_cfg if isinstance(init_cfg, (list, tuple)) else [] if init_cfg is None else [init_cfg]:
            check_cfg('init_cfg', cfg)
        super().__init__(init_cfg=DEFAULT_INIT if init_cfg is None else init_cfg)
        self.arch = arch
        self.in_channels = in_channels
        self.out_indices = tuple(out_indices)
        self.num_chunks = num_chunks
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

        layer_scale = arch.layer_scale if layer_scale_init_value is None else float(layer_scale_init_value) or None
        kinds = [stage_kinds(arch, stage) for stage in range(len(arch.channels))]
        last_block = max(sum(map(len, kinds)) - 1, 1)

        def block(stage: int, kind: str, number: int) -> nn.Module:
            """The block of this number, counted over all stages."""
            options = dict(
                conv=dict(ratio=arch.conv_ratio, act_cfg=act_cfg),
                cpe=dict(),
                shma=dict(head_dim=arch.head_dims[stage], modulation=modulation),
                ffn=dict(ratio=arch.ffn_ratio, act_cfg=act_cfg),
            )[kind]
            if kind != 'cpe':
                options.update(drop_path=drop_path_rate * number / last_block, layer_scale=layer_scale)
            return self.block_types[kind](arch.channels[stage], norm_cfg=norm_cfg, **options)

        self.stages = nn.ModuleList()
        for i in range(self.out_indices[-1] + 1):
            downsample = conv_bn(arch.channels[i - 1], arch.channels[i], 3, stride=2) if i else nn.Identity()
            before = sum(map(len, kinds[:i]))
            blocks = [block(i, kind, before + j) for j, kind in enumerate(kinds[i])]
            self.stages.append(Stage(downsample, blocks, window_span(arch, i, window_layout), window_size, with_cp))

        self.deploy = False
        if deploy:
            self.switch_to_deploy()
        self._freeze()

    @staticmethod
    def _check(out_indices, stages, drop_path_rate):
        if not isinstance(out_indices, Sequence) or isinstance(out_indices, (str, bytes)):
            advice = f', such as ({out_indices},)' if isinstance(out_indices, int) else ''
            raise TypeError(f'out_indices={out_indices!r} must be a sequence of stages{advice}')
        allowed = tuple(range(stages))
        what = f'out_indices={tuple(out_indices)} must be ascending stages out of {allowed}'
        if any(isinstance(index, bool) or not isinstance(index, int) for index in out_indices):
            raise TypeError(what)
        if not out_indices or list(out_indices) != sorted(set(out_indices) & set(allowed)):
            raise ValueError(what)
        check_number('drop_path_rate', drop_path_rate, 'at least 0 and under 1')
        if drop_path_rate >= 1:
            raise ValueError(f'drop_path_rate={drop_path_rate} must be at least 0 and under 1')

    def switch_to_deploy(self, dtype: torch.dtype | None = None) -> None:
        """Turn into the deploy form, in place: for inference alone, faster, with the same outputs.

        What can be folded is folded and all parameters are frozen, so there is no way back and no training. The state
        dict has other keys: `IFormer(..., deploy=True)` loads it. A second call changes at most the data type.

        Args:
            dtype: What the form computes in, such as `torch.bfloat16`; None for that of the weights. Images and maps
                keep the data type of the image.

        Raises:
            ValueError: A layer has been replaced, has hooks, or its norm is no batch norm with running statistics.
        """
        if not self.deploy:
            deploy_form.check(self)
            self.eval()
            deploy_form.switch(self)
            self.deploy = True
        self.to(dtype=dtype)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        # Every way of loading comes through here, so released and timm's weights load wherever ours do.
        loading.adapt_state_dict(self, state_dict, prefix)
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
                freeze_statistics(self)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images to feature maps.

        Args:
            x: Normalized images (B, in_channels, H, W), H and W from 32 up.

        Returns:
            For each stage of `out_indices` its map (B, C, ceil(H / stride), ceil(W / stride)), contiguous, without a
            norm on it.

        Raises:
            TypeError: The image is of whole numbers, which nothing has normalized.
            ValueError: It is not (B, in_channels, H, W).
        """
        dtype = x.dtype
        if not x.is_floating_point():
            raise TypeError(f'an image of {dtype}: the network takes normalized images of floating-point numbers')
        if x.dim() != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < 1:
            raise ValueError(f'an image of shape {tuple(x.shape)}: the network takes (B, {self.in_channels}, H, W)')
        if self.deploy:  # which may compute in bfloat16
            x = x.to(self.stem[0].conv.weight.dtype)
        x = x.contiguous(memory_format=torch.channels_last)  # and stays so in all layers
        x = self.stem(x)
        outputs = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.out_indices:
                level = x.to(dtype) if self.deploy else x
                outputs.append(level.contiguous())  # mmcv's operators, such as RoIAlign, misread channels-last maps
        return tuple(outputs)
