"""The reference form of an iFormer: its network as the released code runs it, layer by layer on NCHW maps.

Other forms are measured against it, so it is written out here and shares no code with the network in `models`, only the
weights: q, k and v/gate are convolutions of their own, and windows are cut and joined channel chunk by channel chunk.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..models import IFormer
from ..models.blocks import CPE, FFN, SHMA, ConvBlock, ConvBN
from ..models.iformer import Stage


class Reference(nn.Module):
    """An iFormer without drop path, in its reference form.

    Args:
        network: The network, in evaluation mode if folded. If not folded, its layers themselves are used, so gradients
            arrive in its parameters.
        folded: For inference: batch norms are folded into the convolutions before them, and a CPE's residual into its
            convolution. Otherwise, for training with frozen statistics: they are operations of their own.

    Raises:
        TypeError: The network has blocks that are not iFormer's.
    """

    def __init__(self, network: IFormer, folded: bool):
        super().__init__()
        self.out_indices = network.out_indices
        self.stem = nn.Sequential(*(_layers(unit, folded) for unit in network.stem))
        self.stages = nn.ModuleList(_Stage(stage, network.num_chunks, folded) for stage in network.stages)
        self.train(network.training)

    def train(self, mode: bool = True) -> Reference:
        """Set training mode; the batch norms stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to the maps that the network returns."""
        x = self.stem(x)
        outputs = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.out_indices:
                outputs.append(x)
        return tuple(outputs)


def _layers(unit: ConvBN, folded: bool) -> nn.Sequential:
    """The layers of a Conv-BN: convolution, batch norm unless folded, activation if there is one.

    What cannot be folded, a replaced layer or one with hooks, stays as it is.
    """
    layers = [fuse_conv_bn_eval(unit.conv, unit.norm)] if folded and unit.foldable else [unit.conv, unit.norm]
    if hasattr(unit, 'act'):
        layers.append(unit.act)
    return nn.Sequential(*layers)


class _Stage(nn.Module):
    def __init__(self, stage: Stage, num_chunks: int, folded: bool):
        super().__init__()
        has_downsample = isinstance(stage.downsample, ConvBN)
        self.downsample = _layers(stage.downsample, folded) if has_downsample else nn.Identity()
        self.blocks = nn.ModuleList(_block(block, folded) for block in stage.blocks)
        self.span = stage.span
        self.window_size = stage.window_size
        self.num_chunks = num_chunks

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        start, stop = self.span
        for index, block in enumerate(self.blocks):
            if start < stop and index == start:
                height, width = x.shape[-2:]
                bottom, right = -height % self.window_size, -width % self.window_size
                if bottom or right:
                    x = F.pad(x, (0, right, 0, bottom))
                padded = x.shape[-2:]
                x = torch.cat([_partition(chunk, self.window_size) for chunk in x.chunk(self.num_chunks, dim=1)], dim=1)
            x = block(x)
            if start < stop and index == stop - 1:
                x = torch.cat([_reverse(chunk, *padded) for chunk in x.chunk(self.num_chunks, dim=1)], dim=1)
                x = x[..., :height, :width]
        return x


def _partition(x: Tensor, size: int) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.view(batch, channels, height // size, size, width // size, size)  # (B, C, nH, ws, nW, ws)
    x = x.permute(0, 2, 4, 1, 3, 5).contiguous()  # (B, nH, nW, C, ws, ws)
    return x.view(-1, channels, size, size)  # (B nH nW, C, ws, ws)


def _reverse(windows: Tensor, height: int, width: int) -> Tensor:
    _, channels, size, _ = windows.shape
    x = windows.view(-1, height // size, width // size, channels, size, size)  # (B, nH, nW, C, ws, ws)
    x = x.permute(0, 3, 1, 4, 2, 5).contiguous()  # (B, C, nH, ws, nW, ws)
    return x.view(-1, channels, height, width)  # (B, C, H, W)


def _block(block: nn.Module, folded: bool) -> nn.Module:
    if isinstance(block, CPE):
        layers = _layers(block.dwconv, folded)
        if not (folded and block.dwconv.foldable):
            return _Residual(layers)
        with torch.no_grad():
            layers[0].weight[:, 0, 1, 1] += 1  # x + dwconv(x) is one convolution
        return layers
    if isinstance(block, ConvBlock):
        units = (block.dwconv, block.expand, block.project)
    elif isinstance(block, FFN):
        units = (block.expand, block.project)
    elif isinstance(block, SHMA):
        return _Residual(_Attention(block, folded), block.gamma)
    else:
        raise TypeError(f'there is no reference form of a {type(block).__name__}')
    return _Residual(nn.Sequential(*(_layers(unit, folded) for unit in units)), block.gamma)


class _Residual(nn.Module):
    def __init__(self, branch: nn.Module, gamma: nn.Parameter | None = None):
        super().__init__()
        self.branch = branch
        self.gamma = gamma

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.branch(x) if self.gamma is None else self.gamma * self.branch(x))


class _Attention(nn.Module):
    def __init__(self, block: SHMA, folded: bool):
        super().__init__()
        self.scale = block.scale
        self.modulation = block.modulation
        self.q = _layers(block.q, folded)
        self.k = _layers(block.k, folded)
        self.v_gate = _layers(block.v_gate, folded)
        self.project = _layers(block.project, folded)

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.q(x).flatten(2), self.k(x).flatten(2)  # two of (B, D, HW)
        v, gate = self.v_gate(x).chunk(2, dim=1)  # two of (B, C, H, W)
        gate = gate.sigmoid()
        shape = v.shape
        v = v.flatten(2)  # (B, C, HW)
        if self.modulation == 'value':
            v = v.sigmoid()
        attention = ((q * self.scale).transpose(1, 2) @ k).softmax(dim=-1)  # (B, HW, HW)
        context = v @ attention.transpose(1, 2)  # (B, C, HW)
        if self.modulation == 'context':
            context = context.sigmoid()
        return self.project(context.view(shape) * gate)
