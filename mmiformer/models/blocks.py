"""The blocks of iFormer (figure 4, Table 15): Conv-BN, conv block, CPE, SHMA and FFN.

Every block takes a map (B, C, H, W) and returns one of the same shape; windows are maps too. All but Conv-BN add their
result to their input. Maps are channels-last in memory: (B, H, W, C) is a view of them, and a 1x1 convolution a linear
layer on it.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmcv.cnn import build_activation_layer, build_norm_layer
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..stack import has_global_hook, has_own_forward


def is_plain(module: nn.Module, *forwards: Callable) -> bool:
    """Whether a module has one of these `forward` methods and no hooks, so that other code may do its work."""
    return type(module).forward in forwards and not (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or has_own_forward(module)
        or has_global_hook()
    )


def freeze_statistics(module: nn.Module) -> None:
    """Put all batch norms in evaluation mode, in place: they keep their statistics, and scale and shift still train."""
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.eval()


class ConvBN(nn.Sequential):
    """A convolution without bias, a norm, and an activation if asked for (section 3.2).

    A batch norm in evaluation mode is folded into the convolution on the fly: what lies between the two is neither
    computed nor kept for the backward pass, and weight, scale and shift get their exact gradients. A replaced layer, or
    one with hooks, is called instead.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel; the map is padded with `kernel_size // 2` zeros on each side.
        stride: Stride of the convolution.
        groups: Groups of the convolution.
        norm_cfg: Config of the norm.
        act_cfg: Config of the activation; None for none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        norm_cfg: dict,
        stride: int = 1,
        groups: int = 1,
        act_cfg: dict | None = None,
    ):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
        )
        self.norm = build_norm_layer(norm_cfg, out_channels)[1]
        if act_cfg is not None:
            self.act = build_activation_layer(act_cfg)

    @property
    def foldable(self) -> bool:
        """Whether the norm can be folded once it is in evaluation mode: both layers are what their classes say."""
        conv, norm = self.conv, self.norm
        return (
            is_plain(conv, nn.Conv2d.forward)
            and is_plain(norm, _BatchNorm.forward, nn.SyncBatchNorm.forward)
            and norm.affine
            and norm.track_running_stats
        )

    @property
    def folds(self) -> bool:
        """Whether the norm is folded now."""
        return not self.norm.training and self.foldable

    def fold(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution that does what this one and its batch norm in evaluation mode do."""
        conv, norm = self.conv, self.norm
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        mean = norm.running_mean if conv.bias is None else norm.running_mean - conv.bias
        return conv.weight * scale[:, None, None, None], norm.bias - mean * scale

    def before_act(self, x: Tensor) -> Tensor:
        """Map (B, C', H', W') to what goes into the activation, (B, C, H, W)."""
        if not self.folds:
            return self.norm(self.conv(x))
        weight, bias = self.fold()
        conv = self.conv
        if conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1:
            x = F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias)  # (B, H, W, C)
            return x.permute(0, 3, 1, 2)
        return conv._conv_forward(x, weight, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C', H', W') to (B, C, H, W)."""
        x = self.before_act(x)
        return self.act(x) if hasattr(self, 'act') else x


def expand_and_project(x: Tensor, expand: ConvBN, project: ConvBN) -> Tensor:
    """Two 1x1 convolutions with an activation between them.

    In training the activation is computed again in the backward pass, from its input: of the two widest maps only one
    is kept. (An activation that works in place leaves no input, and hooks are to be called once.)
    """
    recompute = (
        expand.training
        and torch.is_grad_enabled()
        and project.folds
        and all(is_plain(module, type(module).forward) for module in (expand, expand.act, project))
        and not getattr(expand.act, 'inplace', False)
    )
    if not recompute:
        return project(expand(x))
    return checkpoint(lambda x: project(expand.act(x)), expand.before_act(x), use_reentrant=False)


class Residual(nn.Module):
    """x + gamma * drop_path(branch(x)); a subclass says what its `branch` is.

    Args:
        channels: Channels of the map.
        drop_path: Probability of dropping the branch, for each sample (each window, in a windowed stretch).
        layer_scale: Initial value of gamma, one factor for each channel; None for no layer scale.
    """

    def __init__(self, channels: int, drop_path: float = 0.0, layer_scale: float | None = None):
        super().__init__()
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.gamma = None if layer_scale is None else nn.Parameter(torch.full((1, channels, 1, 1), layer_scale))

    def branch(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to what is added to it."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        branch = self.drop_path(self.branch(x))
        return x + (branch if self.gamma is None else self.gamma * branch)


class ConvBlock(Residual):
    """Depthwise 7x7 convolution, then an inverted bottleneck (section 3.2).

    Args:
        channels: Channels of the map.
        ratio: Channels inside the bottleneck over `channels`.
        norm_cfg: Config of the norms.
        act_cfg: Config of the activation inside the bottleneck.
        drop_path: As in :class:`Residual`.
        layer_scale: As in :class:`Residual`.
    """

    def __init__(
        self,
        channels: int,
        ratio: int,
        norm_cfg: dict,
        act_cfg: dict,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ):
        super().__init__(channels, drop_path, layer_scale)
        self.dwconv = ConvBN(channels, channels, 7, groups=channels, norm_cfg=norm_cfg)
        self.expand = ConvBN(channels, ratio * channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.project = ConvBN(ratio * channels, channels, 1, norm_cfg=norm_cfg)

    def branch(self, x: Tensor) -> Tensor:
        return expand_and_project(self.dwconv(x), self.expand, self.project)


class CPE(Residual):
    """Conditional positional encoding, a depthwise 3x3 convolution (section 3.3); never drop path or layer scale.

    Args:
        channels: Channels of the map.
        norm_cfg: Config of the norm.
    """

    def __init__(self, channels: int, norm_cfg: dict):
        super().__init__(channels)
        self.dwconv = ConvBN(channels, channels, 3, groups=channels, norm_cfg=norm_cfg)

    def branch(self, x: Tensor) -> Tensor:
        return self.dwconv(x)


class FFN(Residual):
    """Feed-forward network of two 1x1 convolutions (equation 7).

    Args:
        channels: Channels of the map.
        ratio: Channels between the two convolutions over `channels`.
        norm_cfg: Config of the norms.
        act_cfg: Config of the activation between the convolutions.
        drop_path: As in :class:`Residual`.
        layer_scale: As in :class:`Residual`.
    """

    def __init__(
        self,
        channels: int,
        ratio: int,
        norm_cfg: dict,
        act_cfg: dict,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ):
        super().__init__(channels, drop_path, layer_scale)
        self.expand = ConvBN(channels, ratio * channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.project = ConvBN(ratio * channels, channels, 1, norm_cfg=norm_cfg)

    def branch(self, x: Tensor) -> Tensor:
        return expand_and_project(x, self.expand, self.project)


class SHMA(Residual):
    """Single-head modulation attention among all tokens of a map (section 3.3, equations 1 to 3).

    Args:
        channels: Channels C of the map.
        head_dim: Channels D of query and key ("hd" in Table 15).
        norm_cfg: Config of the norms.
        modulation: Where the context branch has its sigmoid: 'value', on the value before the attention, as the
            published weights need it; or 'context', on the attention's output, as in equation 3.
        drop_path: As in :class:`Residual`.
        layer_scale: As in :class:`Residual`.
    """

    def __init__(
        self,
        channels: int,
        head_dim: int,
        norm_cfg: dict,
        modulation: str = 'value',
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ):
        super().__init__(channels, drop_path, layer_scale)
        self.scale = head_dim**-0.5
        self.modulation = modulation
        self.q = ConvBN(channels, head_dim, 1, norm_cfg=norm_cfg)
        self.k = ConvBN(channels, head_dim, 1, norm_cfg=norm_cfg)
        self.v_gate = ConvBN(channels, 2 * channels, 1, norm_cfg=norm_cfg)
        self.project = ConvBN(channels, channels, 1, norm_cfg=norm_cfg)

    def branch(self, x: Tensor) -> Tensor:
        # The scale goes to the query, not to the product: half precision overflows less easily.
        q = (self.q(x) * self.scale).flatten(2).transpose(1, 2)  # (B, D, H, W) -> (B, HW, D)
        k = self.k(x).flatten(2)  # (B, D, H, W) -> (B, D, HW)
        v, gate = self.v_gate(x).chunk(2, dim=1)  # two of (B, C, H, W)
        if self.modulation == 'value':
            v = v.sigmoid()
        attention = (q @ k).softmax(dim=-1)  # (B, HW, HW)
        context = attention @ v.flatten(2).transpose(1, 2)  # (B, HW, C)
        context = context.transpose(1, 2).reshape(v.shape)  # (B, HW, C) -> (B, C, H, W)
        if self.modulation == 'context':
            context = context.sigmoid()
        return self.project(gate.sigmoid() * context)


# What stage_kinds names. An ablation's network has other classes here.
BLOCKS = dict(conv=ConvBlock, cpe=CPE, shma=SHMA, ffn=FFN)
