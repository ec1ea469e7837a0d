"""The deploy form of a trained backbone: the same outputs by fewer operations, for inference only.

Batch norms, the residual of CPE, layer scale and the scale of attention are folded into the layers before them; q, k, v
and gate are one layer; 1x1 convolutions are linear layers on (B, H, W, C), a view of a map that is channels-last in
memory; GELU and residuals are added by the layers themselves where torch can do that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import cpu
from .blocks import CPE, FFN, SHMA, ConvBlock, ConvBN


def switch_to_deploy(model: nn.Module, dtype: torch.dtype | None = None) -> int:
    """Bring all backbones of a detector or segmentor into their deploy form, in place.

    Args:
        model: With modules that have a method `switch_to_deploy`, or itself one.
        dtype: What the backbones compute in; None for the data type of their weights.

    Returns:
        How many there were.
    """
    found = [module for module in model.modules() if hasattr(module, 'switch_to_deploy')]
    for module in found:
        module.switch_to_deploy(dtype)
    return len(found)


def fold(unit: ConvBN, gamma: Tensor | None = None) -> nn.Conv2d:
    """The one convolution that does what a Conv-BN in evaluation mode does, without its activation.

    Args:
        unit: The Conv-BN.
        gamma: Layer scale (1, C, 1, 1) on its output.
    """
    conv = unit.conv
    weight, bias = unit.fold()
    if gamma is not None:
        weight, bias = weight * gamma.view(-1, 1, 1, 1), bias * gamma.flatten()
    folded = nn.Conv2d(
        *(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups),
        padding_mode=conv.padding_mode,
    )
    folded.weight, folded.bias = _frozen(weight), _frozen(bias)
    return folded


def to_linear(*convs: nn.Conv2d) -> nn.Linear:
    """1x1 convolutions of one map as one linear layer, with their output channels one after the other."""
    weight = torch.cat([conv.weight.flatten(1) for conv in convs])
    linear = nn.Linear(*weight.shape[::-1])
    linear.weight, linear.bias = _frozen(weight), _frozen(torch.cat([conv.bias for conv in convs]))
    return linear


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)


class ConvAct(nn.Module):
    """A folded convolution and its activation."""

    def __init__(self, unit: ConvBN):
        super().__init__()
        self.conv, self.act = fold(unit), unit.act

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C', H', W') to (B, C, H, W)."""
        return cpu.act_of_conv(x, self.conv, self.act)


class PointwiseConv(nn.Module):
    """A folded 1x1 convolution without activation."""

    def __init__(self, unit: ConvBN):
        super().__init__()
        self.linear = to_linear(fold(unit))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C', H, W) to (B, C, H, W)."""
        return cpu.linear(x.permute(0, 2, 3, 1), self.linear).permute(0, 3, 1, 2)


class Bottleneck(nn.Module):
    """A conv block, or an FFN, which is one without depthwise convolution."""

    def __init__(self, block: ConvBlock | FFN):
        super().__init__()
        self.dwconv = fold(block.dwconv) if isinstance(block, ConvBlock) else nn.Identity()
        self.expand, self.act = to_linear(fold(block.expand)), block.expand.act
        self.project = to_linear(fold(block.project, block.gamma))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        wide = cpu.act_of_linear(self.dwconv(x).permute(0, 2, 3, 1), self.expand, self.act)  # (B, H, W, ratio C)
        return cpu.sum_with_linear(x.permute(0, 2, 3, 1), wide, self.project).permute(0, 3, 1, 2)


def fold_cpe(block: CPE) -> nn.Conv2d:
    """The one depthwise convolution that does what a CPE does, its residual at the center of the kernel."""
    folded = fold(block.dwconv)
    folded.weight[:, :, 1, 1] += 1
    return folded


def fold_query(block: SHMA) -> nn.Conv2d:
    """The query's convolution, with the scale of the attention in it."""
    folded = fold(block.q)
    folded.weight *= block.scale
    folded.bias *= block.scale
    return folded


class DeployedSHMA(nn.Module):
    """Single-head modulation attention, with q, k, v and gate from one product."""

    def __init__(self, block: SHMA):
        super().__init__()
        q = fold_query(block)
        self.head_dim, self.modulation = q.out_channels, block.modulation
        self.qkv_gate = to_linear(q, fold(block.k), fold(block.v_gate))
        self.project = to_linear(fold(block.project, block.gamma))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        tokens = x.flatten(1, 2)  # (B, HW, C)
        q, k, v_gate = cpu.linear(tokens, self.qkv_gate).split(
            [self.head_dim, self.head_dim, 2 * tokens.shape[2]], dim=2
        )
        if self.modulation == 'value':
            v, gate = v_gate.sigmoid().chunk(2, dim=2)  # two of (B, HW, C)
        else:
            v, gate = v_gate.chunk(2, dim=2)
            gate = gate.sigmoid()
        context = (q @ k.transpose(1, 2)).softmax(dim=-1) @ v  # (B, HW, HW) @ (B, HW, C)
        if self.modulation == 'context':
            context = context.sigmoid()
        x = cpu.sum_with_linear(tokens, gate * context, self.project).reshape(x.shape)
        return x.permute(0, 3, 1, 2)  # (B, C, H, W)


_DEPLOYED = {ConvBlock: Bottleneck, FFN: Bottleneck, CPE: fold_cpe, SHMA: DeployedSHMA}


def check(backbone: nn.Module) -> None:
    """Check that a backbone can be folded, before anything is changed.

    Raises:
        ValueError: A layer has been replaced or has hooks, a norm cannot be folded, or a block is of another kind.
    """
    for name, unit in backbone.named_modules():
        if isinstance(unit, ConvBN) and not unit.foldable:
            raise ValueError(
                f'{name} cannot be folded: it takes a plain convolution ({name}.conv is {unit.conv}) and a batch norm '
                f'with running statistics ({name}.norm is {unit.norm}), both without hooks'
            )
    for i, stage in enumerate(backbone.stages):
        for j, block in enumerate(stage.blocks):
            if type(block) not in _DEPLOYED:
                kinds = ', '.join(kind.__name__ for kind in _DEPLOYED)
                raise ValueError(f'stages.{i}.blocks.{j} is a {type(block).__name__}: only {kinds} have a deploy form')


@torch.no_grad()
def switch(backbone: nn.Module) -> None:
    """Replace the layers of an `IFormer` in evaluation mode, in place."""
    first, second, last = backbone.stem
    backbone.stem = nn.Sequential(ConvAct(first), ConvAct(second), PointwiseConv(last))
    for stage in backbone.stages:
        if isinstance(stage.downsample, ConvBN):
            stage.downsample = fold(stage.downsample)
        stage.blocks = nn.ModuleList(_DEPLOYED[type(block)](block) for block in stage.blocks)
    backbone.to(memory_format=torch.channels_last)  # the weights of its convolutions, as its maps are
