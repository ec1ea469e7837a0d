"""EfficientMod, Efficient Modulation for Vision Networks (ICLR 2024), https://arxiv.org/abs/2403.19963.

Modules have the names of the authors' code, so the keys of their files fit as they are. Within the stages a map is
(B, H, W, C).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from ..registry import MODELS
from .baseline import Baseline, choose, feature_info, rising

HEADS = 8
RATIOS = (1, 6)  # expansion ratios of a stage's modulation blocks, in turn


class Arch(NamedTuple):
    """A variant. A tuple has one entry for each stage.

    Attributes:
        channels: Channels C of the map.
        modulations: Number of modulation blocks.
        attentions: Number of attention blocks after them.
        attention_ratios: Expansion ratio of the MLP in the attention blocks.
    """

    channels: tuple
    modulations: tuple
    attentions: tuple = (0, 0, 0, 0)
    attention_ratios: tuple = (4, 4, 4, 4)


ARCHS = {
    's': Arch((32, 64, 144, 312), (4, 4, 8, 4), attentions=(0, 0, 4, 4), attention_ratios=(4, 4, 4, 5)),
    's_conv': Arch((40, 80, 160, 344), (4, 4, 12, 8)),
}


class PatchEmbed(nn.Module):
    """A strided convolution and a layer norm.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        kernel_size: Side of the kernel; the map is padded with `kernel_size // 2` zeros on each side.
        stride: Stride of the convolution.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, kernel_size, stride, kernel_size // 2)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C', H', W') to (B, H, W, C)."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Context(nn.Module):
    """The context branch: a depthwise 7x7 convolution between linear layers.

    Args:
        channels: Channels of the map.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.f = nn.Linear(channels, channels)
        self.context_list = nn.Sequential(nn.Conv2d(channels, channels, 7, padding=3, groups=channels), nn.GELU())
        self.g = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.context_list(self.f(x).permute(0, 3, 1, 2))  # (B, H, W, C) -> (B, C, H, W)
        return self.g(x.permute(0, 2, 3, 1))


class ModulatedMLP(nn.Module):
    """An MLP whose hidden features are multiplied with their context. Without expansion it has no activation.

    Args:
        channels: Channels of the map.
        ratio: Expansion ratio.
    """

    def __init__(self, channels: int, ratio: int):
        super().__init__()
        self.ratio = ratio
        self.fc1 = nn.Linear(channels, ratio * channels)
        self.context_layer = Context(channels)
        self.fc2 = nn.Linear(ratio * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        context = self.context_layer(x).repeat(1, 1, 1, self.ratio)  # (B, H, W, ratio C)
        x = self.fc1(x)
        return self.fc2((x if self.ratio == 1 else F.gelu(x)) * context)


class ModulationBlock(nn.Module):
    """x + gamma * drop_path(modulated MLP of the normed x).

    Args:
        channels: Channels of the map.
        ratio: Expansion ratio of the MLP.
        drop_path: Probability of dropping the branch, for each sample.
    """

    def __init__(self, channels: int, ratio: int, drop_path: float):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mlp = ModulatedMLP(channels, ratio)
        self.gamma_1 = nn.Parameter(torch.full((channels,), 1e-4))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.gamma_1 * self.mlp(self.norm(x)))


class Attention(nn.Module):
    """Attention among all tokens of a map.

    Args:
        channels: Channels of the map.
    """

    def __init__(self, channels: int):
        super().__init__()
        width = HEADS * max(channels // HEADS, 32)
        self.qkv = nn.Linear(channels, 3 * width, bias=False)
        self.proj = nn.Linear(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x.flatten(1, 2)).unflatten(2, (3, HEADS, -1))  # (B, HW, 3, heads, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # three of (B, heads, HW, D)
        context = F.scaled_dot_product_attention(q, k, v)
        return self.proj(context.transpose(1, 2).flatten(2)).view(x.shape)  # (B, HW, C) -> (B, H, W, C)


class AttentionBlock(nn.Module):
    """Attention and an MLP, each behind a norm and added to its input.

    Args:
        channels: Channels of the map.
        ratio: Expansion ratio of the MLP.
        drop_path: Probability of dropping a branch, for each sample.
    """

    def __init__(self, channels: int, ratio: int, drop_path: float):
        super().__init__()
        fc1, fc2 = nn.Linear(channels, ratio * channels), nn.Linear(ratio * channels, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.attn = Attention(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(OrderedDict(fc1=fc1, act=nn.GELU(), fc2=fc2))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


@MODELS.register_module()
class EfficientMod(Baseline):
    """EfficientMod with multi-scale outputs, without norms on them, for detection and segmentation.

    Args:
        arch: 's', with attention in the last two stages, or 's_conv', without.
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0 over all blocks.
        init_cfg: MMEngine's initialization. `dict(type='Pretrained', checkpoint=...)` loads the authors' files,
            strictly. Default: truncated normal with std 0.02 for linear layers.

    Attributes:
        feature_info: For each stage `dict(channels=..., stride=...)`.

    Raises:
        ValueError: There is no such `arch`.
    """

    def __init__(self, arch: str = 's', drop_path_rate: float = 0.02, init_cfg: dict | list | None = None):
        super().__init__(init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02) if init_cfg is None else init_cfg)
        arch = choose(arch, ARCHS)
        self.feature_info = feature_info(arch.channels)
        drop_paths = rising(drop_path_rate, sum(arch.modulations) + sum(arch.attentions))

        self.patch_embed = PatchEmbed(3, arch.channels[0], 7, stride=4)
        self.layers = nn.ModuleList()
        for channels, modulations, attentions, ratio in zip(*arch, strict=True):
            blocks = [ModulationBlock(channels, RATIOS[i % 2], next(drop_paths)) for i in range(modulations)]
            blocks += [AttentionBlock(channels, ratio, next(drop_paths)) for _ in range(attentions)]
            self.layers.append(nn.ModuleDict(dict(blocks=nn.Sequential(*blocks))))
        for layer, narrow, wide in zip(self.layers, arch.channels, arch.channels[1:], strict=False):
            layer['downsample'] = PatchEmbed(narrow, wide, 3, stride=2)

    def own_weights(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As in :class:`Baseline`."""
        return {key: tensor for key, tensor in published.items() if not key.startswith(('norm.', 'head.'))}

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map normalized images (B, 3, H, W) to maps (B, C, H / stride, W / stride) of four stages."""
        x = self.patch_embed(x)
        outputs = []
        for layer in self.layers:
            x = layer['blocks'](x).permute(0, 3, 1, 2)  # (B, H, W, C) -> (B, C, H, W)
            outputs.append(x.contiguous())
            if 'downsample' in layer:
                x = layer['downsample'](x)
        return tuple(outputs)
