"""EfficientFormer and EfficientFormerV2, for images of any size.

NeurIPS 2022, https://arxiv.org/abs/2206.01191, and ICCV 2023, https://arxiv.org/abs/2212.08059. Their attention has a
learned bias for each offset between two tokens of a square grid. As in the authors' dense networks, the biases are
resized to the tokens at hand; timm's networks take images of one size. Modules have timm's names, so the files on its
hub fit as they are.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from ..registry import MODELS
from .baseline import METAFORMER_KEYS, Baseline, choose, feature_info, rename, rising

HEADS = 8
VALUE_RATIO = 4  # channels of a head's value over those of its query


class Arch(NamedTuple):
    """A variant. A tuple has one entry for each stage.

    Attributes:
        channels: Channels C of the map.
        ratios: Expansion ratio of each block's MLP.
        attentions: How many of the blocks, the last ones, have attention.
    """

    channels: tuple
    ratios: tuple
    attentions: tuple


V1_ARCHS = {
    'l1': Arch((48, 96, 224, 448), ((4,) * 3, (4,) * 2, (4,) * 6, (4,) * 4), attentions=(0, 0, 0, 1)),
    'l3': Arch((64, 128, 320, 512), ((4,) * 4, (4,) * 4, (4,) * 12, (4,) * 6), attentions=(0, 0, 0, 4)),
}
V2_ARCHS = {
    'l': Arch(
        (40, 80, 192, 384),
        ((4,) * 5, (4,) * 5, (4,) * 4 + (3,) * 7 + (4,) * 4, (4,) * 3 + (3,) * 4 + (4,) * 3),
        attentions=(0, 0, 6, 6),
    ),
}


def named(**modules: nn.Module) -> nn.Sequential:
    """Modules that run one after the other, by name."""
    return nn.Sequential(OrderedDict(modules))


def conv_bn(in_channels: int, channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution with bias and a batch norm."""
    conv = nn.Conv2d(in_channels, channels, kernel_size, stride, kernel_size // 2, groups=groups)
    return named(conv=conv, bn=nn.BatchNorm2d(channels))


class LayerScale(nn.Module):
    """A factor for each channel of a map (B, C, H, W) or of tokens (B, N, C).

    Args:
        channels: Channels C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.gamma if x.ndim == 3 else self.gamma[:, None, None])


class Block(nn.Module):
    """A token mixer and an MLP, each behind a norm, scaled and added to its input.

    Args:
        channels: Channels of the map.
        token_mixer: The token mixer; None for none.
        mlp: The MLP.
        norm: Makes a norm for a number of channels.
        drop_path: Probability of dropping a branch, for each sample.
    """

    def __init__(
        self,
        channels: int,
        token_mixer: nn.Module | None,
        mlp: nn.Module,
        norm: Callable[[int], nn.Module] = nn.Identity,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.token_mixer = token_mixer
        if token_mixer is not None:
            self.norm1 = norm(channels)
            self.ls1 = LayerScale(channels)
        self.norm2 = norm(channels)
        self.mlp = mlp
        self.ls2 = LayerScale(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        if self.token_mixer is not None:
            x = x + self.drop_path(self.ls1(self.token_mixer(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class TokenBlock(Block):
    """A block that works on tokens."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x.flatten(2).transpose(1, 2))  # (B, C, H, W) -> (B, HW, C)
        return tokens.transpose(1, 2).unflatten(2, x.shape[2:])  # (B, HW, C) -> (B, C, H, W)


class BiasedAttention(nn.Module):
    """What attention with a bias for each offset (|dy|, |dx|) of query and key shares.

    Args:
        query_grid: Side of the grid of queries that the biases are for.
        key_grid: Side of the grid of keys, a multiple of `query_grid`.
    """

    def __init__(self, query_grid: int, key_grid: int):
        super().__init__()
        self.attention_biases = nn.Parameter(torch.zeros(HEADS, key_grid**2))
        stride = key_grid // query_grid
        offsets = (stride * torch.arange(query_grid)[:, None] - torch.arange(key_grid)).abs()  # (query, key), one axis
        index = key_grid * offsets[:, None, :, None] + offsets[None, :, None, :]  # (query y, query x, key y, key x)
        self.register_buffer('index', index.reshape(query_grid**2, key_grid**2), persistent=False)

    def biases(self, queries: int, keys: int) -> Tensor:
        """Biases (heads, queries, keys): the matrix of the grid's tokens, resized like an image as by the authors."""
        grid = self.attention_biases[:, self.index]
        return F.interpolate(grid[None], (queries, keys), mode='bicubic')[0]


# --- version 1


class Pooling(nn.AvgPool2d):
    """What a 3x3 average pooling changes."""

    def __init__(self):
        super().__init__(3, stride=1, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - x


class Attention(BiasedAttention):
    """Attention among tokens.

    Args:
        channels: Channels of the tokens.
        grid: Side of the grid of tokens that the biases are for.
        head_dim: Channels of a head's query and key.
    """

    def __init__(self, channels: int, grid: int, head_dim: int = 32):
        super().__init__(grid, grid)
        self.head_dims = (head_dim, head_dim, VALUE_RATIO * head_dim)
        self.qkv = nn.Linear(channels, HEADS * sum(self.head_dims))
        self.proj = nn.Linear(HEADS * VALUE_RATIO * head_dim, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) to (B, N, C)."""
        tokens = x.shape[1]
        qkv = self.qkv(x).unflatten(2, (HEADS, -1)).transpose(1, 2)  # (B, heads, N, 2 D + V)
        q, k, v = qkv.split(self.head_dims, dim=3)
        logits = q @ k.mT * self.head_dims[0] ** -0.5 + self.biases(tokens, tokens)
        x = logits.softmax(dim=-1) @ v  # (B, heads, N, V)
        return self.proj(x.transpose(1, 2).flatten(2))


def conv_mlp(channels: int, ratio: int) -> nn.Sequential:
    """The MLP of a map."""
    hidden = ratio * channels
    return named(
        fc1=nn.Conv2d(channels, hidden, 1),
        norm1=nn.BatchNorm2d(hidden),
        act=nn.GELU(),
        fc2=nn.Conv2d(hidden, channels, 1),
        norm2=nn.BatchNorm2d(channels),
    )


def token_mlp(channels: int, ratio: int) -> nn.Sequential:
    """The MLP of tokens."""
    return named(fc1=nn.Linear(channels, ratio * channels), act=nn.GELU(), fc2=nn.Linear(ratio * channels, channels))


# --- version 2


class LocalGlobalQuery(nn.Module):
    """Queries at half the resolution.

    Args:
        channels: Channels of the map.
        out_channels: Channels of the queries.
    """

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.local = nn.Conv2d(channels, channels, 3, 2, 1, groups=channels)
        self.proj = conv_bn(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / 2, W / 2)."""
        return self.proj(self.local(x) + x[..., ::2, ::2])


def split_heads(x: Tensor) -> Tensor:
    """(B, heads D, H, W) -> (B, heads, D, HW)"""
    return x.flatten(2).unflatten(1, (HEADS, -1))


class MapAttention(BiasedAttention):
    """Attention on a map, with a depthwise convolution of the values beside it.

    Args:
        channels: Channels of the input.
        out_channels: Channels of the output.
        head_dim: Channels of a head's query and key.
        query_grid: As in :class:`BiasedAttention`.
        key_grid: As in :class:`BiasedAttention`.
    """

    def __init__(self, channels: int, out_channels: int, head_dim: int, query_grid: int, key_grid: int):
        super().__init__(query_grid, key_grid)
        keys, values = HEADS * head_dim, HEADS * VALUE_RATIO * head_dim
        stride = key_grid // query_grid
        self.scale = head_dim**-0.5
        self.q = conv_bn(channels, keys, 1) if stride == 1 else LocalGlobalQuery(channels, keys)
        self.k = conv_bn(channels, keys, 1)
        self.v = conv_bn(channels, values, 1)
        self.v_local = conv_bn(values, values, 3, stride, groups=values)
        self.act = nn.GELU()
        self.proj = conv_bn(values, out_channels, 1)

    def weigh(self, logits: Tensor) -> Tensor:
        """Logits (B, heads, queries, keys) to what weighs the values."""
        return logits.softmax(dim=-1)

    def mix(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to values (B, heads V, H', W') of the queries' size."""
        q, k, v = self.q(x), self.k(x), self.v(x)
        logits = split_heads(q).mT @ split_heads(k) * self.scale  # (B, heads, H'W', HW)
        weights = self.weigh(logits + self.biases(*logits.shape[2:]))
        context = split_heads(v) @ weights.mT  # (B, heads, V, H'W')
        return context.flatten(1, 2).unflatten(2, q.shape[2:]) + self.v_local(v)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W')."""
        return self.proj(self.act(self.mix(x)))


class TalkingAttention(MapAttention):
    """Attention whose heads talk before and after the softmax; at half the resolution, if asked for.

    Args:
        channels: Channels of the map.
        grid: Side of the grid of tokens that the biases are for.
        stride: 1, or 2 for half the resolution.
    """

    def __init__(self, channels: int, grid: int, stride: int):
        super().__init__(channels, channels, 32, grid, grid)
        self.stride_conv = None if stride == 1 else conv_bn(channels, channels, 3, stride, groups=channels)
        self.talking_head1 = nn.Conv2d(HEADS, HEADS, 1)
        self.talking_head2 = nn.Conv2d(HEADS, HEADS, 1)

    def weigh(self, logits: Tensor) -> Tensor:
        return self.talking_head2(self.talking_head1(logits).softmax(dim=-1))

    def mix(self, x: Tensor) -> Tensor:
        if self.stride_conv is None:
            return super().mix(x)
        return F.interpolate(super().mix(self.stride_conv(x)), x.shape[2:], mode='bilinear')


class Downsample(nn.Module):
    """A strided convolution, and attention beside it if asked for.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        grid: Side of the grid of queries that the attention's biases are for; None for no attention.
    """

    def __init__(self, in_channels: int, channels: int, grid: int | None):
        super().__init__()
        self.conv = conv_bn(in_channels, channels, 3, stride=2)
        self.attn = None if grid is None else MapAttention(in_channels, channels, 16, grid, 2 * grid)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C', H, W) to (B, C, H / 2, W / 2)."""
        return self.conv(x) if self.attn is None else self.conv(x) + self.attn(x)


def mobile_mlp(channels: int, ratio: int) -> nn.Sequential:
    """The MLP of a map with a depthwise convolution inside."""
    hidden = ratio * channels
    return named(
        fc1=conv_bn(channels, hidden, 1),
        act1=nn.GELU(),
        mid=conv_bn(hidden, hidden, 3, groups=hidden),
        act2=nn.GELU(),
        fc2=conv_bn(hidden, channels, 1),
    )


# --- the authors' keys: what stands there, and what here

_V1_KEYS = (
    *METAFORMER_KEYS,
    (r'^patch_embed\.0\.', 'stem.conv1.'),
    (r'^patch_embed\.1\.', 'stem.norm1.'),
    (r'^patch_embed\.3\.', 'stem.conv2.'),
    (r'^patch_embed\.4\.', 'stem.norm2.'),
    (r'\.downsample\.proj\.', '.downsample.conv.'),
)
_V2_KEYS = (
    *METAFORMER_KEYS,
    (r'^patch_embed\.0\.', 'stem.conv1.conv.'),
    (r'^patch_embed\.1\.', 'stem.conv1.bn.'),
    (r'^patch_embed\.3\.', 'stem.conv2.conv.'),
    (r'^patch_embed\.4\.', 'stem.conv2.bn.'),
    (r'\.downsample\.(?:proj|conv)\.', '.downsample.conv.conv.'),
    (r'\.downsample\.(?:norm|bn)\.', '.downsample.conv.bn.'),
    (r'\.mlp\.(fc1|mid|fc2)\.', r'.mlp.\1.conv.'),
    (r'\.mlp\.norm([12])\.', r'.mlp.fc\1.bn.'),
    (r'\.mlp\.mid_norm\.', '.mlp.mid.bn.'),
    (r'\.q\.local\.0\.', '.q.local.'),
    (r'\.(q|q\.proj|k|v|v_local|stride_conv)\.0\.', r'.\1.conv.'),
    (r'\.(q|q\.proj|k|v|v_local|stride_conv)\.1\.', r'.\1.bn.'),
    (r'\.proj\.1\.', '.proj.conv.'),
    (r'\.proj\.2\.', '.proj.bn.'),
)


def rename_released(state_dict: Mapping[str, Tensor], patterns: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """Rename the authors' keys to ours.

    Of the two tables of biases in their dense files, ImageNet's and one of the file's own grid (`_seg`), the first is
    dropped, since nothing reads it.

    Args:
        state_dict: {key: tensor} without a prefix.
        patterns: Those of the version.
    """
    read = {key: tensor for key, tensor in state_dict.items() if f'{key}_seg' not in state_dict}
    tables = ((r'\.layer_scale_([12])$', r'.ls\1.gamma'), (r'\.attention_biases_seg$', '.attention_biases'))
    renamed = rename(read, (*patterns, *tables))
    return {key: tensor.flatten() if key.endswith('.gamma') else tensor for key, tensor in renamed.items()}


# --- the networks


# Heads, and what is computed from the grid alone.
_LEFT_ASIDE = re.compile(r'(?:norm|head|head_dist|dist_head)\.|.*\.attention_bias_idxs')


class _EfficientFormer(Baseline):
    """What both versions share: the files that they load, and the way through the stages."""

    released_keys: tuple[tuple[str, str], ...]

    def own_weights(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As in :class:`Baseline`.

        Biases of ImageNet's grid of 7 x 7 tokens do not fit another; those start from 0, as with the authors.
        """
        if 'patch_embed.0.weight' in published:
            published = rename_released(published, self.released_keys)
        weights = {key: tensor for key, tensor in published.items() if not _LEFT_ASIDE.match(key)}
        for key, own in self.state_dict().items():
            if key.endswith('.attention_biases') and key in weights:
                imagenet = weights[key].shape[1] in (7**2, 14**2)
                if imagenet and weights[key].shape != own.shape:
                    weights[key] = torch.zeros_like(own)
        return weights

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map normalized images (B, 3, H, W) to the stages' maps (B, C, ceil(H / stride), ceil(W / stride))."""
        x = self.stem(x)
        outputs = []
        for stage, norm in zip(self.stages, self.output_norms, strict=True):
            x = stage(x)
            outputs.append(norm(x).contiguous())
        return tuple(outputs)


@MODELS.register_module()
class EfficientFormer(_EfficientFormer):
    """EfficientFormer with a group norm on each of its four outputs, for detection and segmentation.

    Args:
        arch: 'l1' or 'l3'.
        bias_grid: Side of the grid of tokens, at stride 32, that the attention's biases are for: 25 in the authors'
            detectors (images of 800 x 800), 16 in their segmentors (512 x 512), 7 in their classifiers (224 x 224).
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0 over all blocks.
        init_cfg: MMEngine's initialization. `dict(type='Pretrained', checkpoint=...)` loads the authors' or timm's
            files strictly. The output norms, which ImageNet's files do not have, start fresh, and biases for another
            grid than ImageNet's from 0.

    Attributes:
        feature_info: For each stage `dict(channels=..., stride=...)`.

    Raises:
        ValueError: There is no such `arch`.
    """

    released_keys = _V1_KEYS

    def __init__(
        self,
        arch: str = 'l1',
        bias_grid: int = 25,
        drop_path_rate: float = 0.0,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02) if init_cfg is None else init_cfg)
        arch = choose(arch, V1_ARCHS)
        self.feature_info = feature_info(arch.channels)
        drop_paths = rising(drop_path_rate, sum(map(len, arch.ratios)))

        width = arch.channels[0]
        self.stem = named(
            conv1=nn.Conv2d(3, width // 2, 3, 2, 1),
            norm1=nn.BatchNorm2d(width // 2),
            act1=nn.ReLU(),
            conv2=nn.Conv2d(width // 2, width, 3, 2, 1),
            norm2=nn.BatchNorm2d(width),
            act2=nn.ReLU(),
        )
        self.stages = nn.ModuleList()
        for stage, (channels, ratios, attentions) in enumerate(zip(*arch, strict=True)):
            downsample = nn.Identity()
            if stage:
                conv = nn.Conv2d(arch.channels[stage - 1], channels, 3, 2, 1)
                downsample = named(conv=conv, norm=nn.BatchNorm2d(channels))
            first = len(ratios) - attentions
            blocks = [
                Block(channels, Pooling(), conv_mlp(channels, ratio), drop_path=next(drop_paths))
                for ratio in ratios[:first]
            ]
            if attentions:
                blocks.append(nn.Identity())  # where timm, which counts it, turns the map to tokens
            blocks += [
                TokenBlock(
                    channels,
                    Attention(channels, bias_grid),
                    token_mlp(channels, ratio),
                    norm=nn.LayerNorm,
                    drop_path=next(drop_paths),
                )
                for ratio in ratios[first:]
            ]
            self.stages.append(named(downsample=downsample, blocks=nn.Sequential(*blocks)))
        self.output_norms = nn.ModuleList(nn.GroupNorm(1, channels) for channels in arch.channels)


@MODELS.register_module()
class EfficientFormerV2(_EfficientFormer):
    """EfficientFormerV2 with multi-scale outputs, without norms on them, for detection and segmentation.

    Args:
        arch: 'l'.
        bias_grid: As in :class:`EfficientFormer`.
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0 over all blocks.
        init_cfg: As in :class:`EfficientFormer`.

    Attributes:
        feature_info: For each stage `dict(channels=..., stride=...)`.

    Raises:
        ValueError: There is no such `arch`.
    """

    released_keys = _V2_KEYS

    def __init__(
        self,
        arch: str = 'l',
        bias_grid: int = 25,
        drop_path_rate: float = 0.1,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        arch = choose(arch, V2_ARCHS)
        self.feature_info = feature_info(arch.channels)
        drop_paths = rising(drop_path_rate, sum(map(len, arch.ratios)))

        width = arch.channels[0]
        self.stem = named(
            conv1=conv_bn(3, width // 2, 3, stride=2),
            act1=nn.GELU(),
            conv2=conv_bn(width // 2, width, 3, stride=2),
            act2=nn.GELU(),
        )
        self.stages = nn.ModuleList()
        for stage, (channels, ratios, attentions) in enumerate(zip(*arch, strict=True)):
            downsample = nn.Identity()
            if stage:
                downsample = Downsample(arch.channels[stage - 1], channels, bias_grid if stage == 3 else None)
            stride = 2 if stage == 2 else 1  # attention is at stride 32 in both stages
            first = len(ratios) - attentions
            blocks = [
                Block(
                    channels,
                    TalkingAttention(channels, bias_grid, stride) if index >= first else None,
                    mobile_mlp(channels, ratio),
                    drop_path=next(drop_paths),
                )
                for index, ratio in enumerate(ratios)
            ]
            self.stages.append(named(downsample=downsample, blocks=nn.Sequential(*blocks)))
        self.output_norms = nn.ModuleList(nn.Identity() for _ in arch.channels)
