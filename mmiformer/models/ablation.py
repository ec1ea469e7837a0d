"""The networks of the paper's ablations (figure 2; Tables 1, 2, 6, 7, 10, 11 and 14), as subclasses of the backbone.

An ablation has other classes of blocks, and at the beginning of figure 2 another stem and downsampling. What the fields
of :class:`~mmiformer.models.arch.Arch` can say is left to the configs, `configs/ablation/`. Weights of iFormer fit
only where nothing was replaced that has weights, and these networks have neither a deploy nor an export form.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import MODELS
from .blocks import BLOCKS, FFN, SHMA, ConvBlock, ConvBN, Residual
from .classification import Classifier
from .classifier import Head
from .iformer import IFormer


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int = 1) -> Tensor:
    """Attention among all tokens of a map.

    Args:
        q: Query (B, D, H, W).
        k: Key (B, D, H, W).
        v: Value (B, C, H, W).
        heads: Number of heads, into which D and C are divided.

    Returns:
        The map (B, C, H, W).
    """
    shape = v.shape
    q, k, v = (x.flatten(2).unflatten(1, (heads, -1)).transpose(2, 3) for x in (q, k, v))  # (B, heads, HW, D / heads)
    attention = (q * q.shape[-1] ** -0.5 @ k.transpose(2, 3)).softmax(dim=-1)  # (B, heads, HW, HW)
    return (attention @ v).transpose(2, 3).reshape(shape)


def set_kernel(layer: ConvBN, size: int) -> None:
    """Give a Conv-BN another size of kernel, in place."""
    conv = layer.conv
    layer.conv = nn.Conv2d(
        conv.in_channels, conv.out_channels, size, conv.stride, size // 2, groups=conv.groups, bias=False
    )


@MODELS.register_module()
class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a map (B, C, H, W), as in ConvNeXt."""

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__(channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # over (B, H, W, C)


# ---- attention


class SHA(Residual):
    """Single-head attention without modulation (section 3.3). Its arguments are those of :class:`SHMA`.

    There is no modulation to place, so `modulation` changes nothing.
    """

    heads = 1

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
        self.q = ConvBN(channels, head_dim, 1, norm_cfg=norm_cfg)
        self.k = ConvBN(channels, head_dim, 1, norm_cfg=norm_cfg)
        self.v = ConvBN(channels, channels, 1, norm_cfg=norm_cfg)
        self.project = ConvBN(channels, channels, 1, norm_cfg=norm_cfg)

    def attention(self, x: Tensor) -> Tensor:
        return attend(self.q(x), self.k(x), self.v(x), self.heads)

    def branch(self, x: Tensor) -> Tensor:
        return self.project(self.attention(x))


class MHA(SHA):
    """Multi-head attention. The paper does not say how many heads; here each has 32 channels, as in Swin."""

    def __init__(self, channels: int, head_dim: int, *args, **kwargs):
        super().__init__(channels, head_dim, *args, **kwargs)
        self.heads = head_dim // 32


class SplitSHA(SHA):
    """Table 14, "+ split": the input is split into a quarter and the rest; attention still has all channels."""

    def branch(self, x: Tensor) -> Tensor:
        quarter = x.shape[1] // 4
        return super().branch(torch.cat(x.split([quarter, x.shape[1] - quarter], dim=1), dim=1))


class QuarterSHA(SHA):
    """Table 14, "+ attention on 1/4 channels": attention within the first quarter; the rest has the identity alone.

    Query and key have as many channels as the quarter, whatever `head_dim` is.
    """

    def __init__(self, channels: int, head_dim: int, norm_cfg: dict, *args, **kwargs):
        super().__init__(channels, head_dim, norm_cfg, *args, **kwargs)
        self.quarter = channels // 4
        for name in ('q', 'k', 'v'):
            setattr(self, name, ConvBN(self.quarter, self.quarter, 1, norm_cfg=norm_cfg))
        self.project = ConvBN(self.quarter, channels, 1, norm_cfg=norm_cfg)

    def branch(self, x: Tensor) -> Tensor:
        return self.project(self.attention(x[:, : self.quarter]))


class ConcatSHA(QuarterSHA):
    """Table 14, "+ concat": the attended quarter and the rest are projected together, as in SHViT."""

    def __init__(self, channels: int, head_dim: int, norm_cfg: dict, *args, **kwargs):
        super().__init__(channels, head_dim, norm_cfg, *args, **kwargs)
        self.project = ConvBN(channels, channels, 1, norm_cfg=norm_cfg)

    def branch(self, x: Tensor) -> Tensor:
        x, rest = x.split([self.quarter, x.shape[1] - self.quarter], dim=1)
        return self.project(torch.cat((self.attention(x), rest), dim=1))


class SiLUSHMA(SHMA):
    """SHMA with SiLU in place of both sigmoids (Table 6)."""

    def branch(self, x: Tensor) -> Tensor:
        v, gate = self.v_gate(x).chunk(2, dim=1)
        if self.modulation == 'value':
            v = F.silu(v)
        context = attend(self.q(x), self.k(x), v)
        if self.modulation == 'context':
            context = F.silu(context)
        return self.project(F.silu(gate) * context)


class PreLNSiLUSHMA(SiLUSHMA):
    """The same with a layer norm before the projections, and no batch norm behind any (Table 6)."""

    def __init__(self, channels: int, head_dim: int, *args, **kwargs):
        super().__init__(channels, head_dim, *args, **kwargs)
        self.norm = LayerNorm2d(channels)
        for name in ('q', 'k', 'v_gate', 'project'):
            conv = getattr(self, name).conv
            setattr(self, name, nn.Conv2d(conv.in_channels, conv.out_channels, 1))

    def branch(self, x: Tensor) -> Tensor:
        return super().branch(self.norm(x))


# ---- convolutions


class SmallKernelConvBlock(ConvBlock):
    """Conv block with a depthwise convolution of 3x3 (Table 2)."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        set_kernel(self.dwconv, 3)


class MixingConvBlock(ConvBlock):
    """Conv block with a second depthwise 7x7 convolution, on the expanded channels (Table 11).

    The size of this kernel is not in the paper; 7x7 is what its counts need.
    """

    def __init__(self, channels: int, ratio: int, norm_cfg: dict, *args, **kwargs):
        super().__init__(channels, ratio, norm_cfg, *args, **kwargs)
        self.mix = ConvBN(ratio * channels, ratio * channels, 7, groups=ratio * channels, norm_cfg=norm_cfg)

    def branch(self, x: Tensor) -> Tensor:
        return self.project(self.mix(self.expand(self.dwconv(x))))


class MixingFFN(FFN):
    """FFN with a depthwise 7x7 convolution on the expanded channels (Table 11)."""

    def __init__(self, channels: int, ratio: int, norm_cfg: dict, *args, **kwargs):
        super().__init__(channels, ratio, norm_cfg, *args, **kwargs)
        self.mix = ConvBN(ratio * channels, ratio * channels, 7, groups=ratio * channels, norm_cfg=norm_cfg)

    def branch(self, x: Tensor) -> Tensor:
        return self.project(self.mix(self.expand(x)))


class ConvNeXtBlock(Residual):
    """ConvNeXt's block without layer scale (section 3.1): one layer norm, convolutions with a bias.

    Its arguments are those of :class:`ConvBlock`; norm and activation are always ConvNeXt's.
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
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            LayerNorm2d(channels),
            nn.Conv2d(channels, ratio * channels, 1),
            nn.GELU(),
            nn.Conv2d(ratio * channels, channels, 1),
        )

    def branch(self, x: Tensor) -> Tensor:
        return self.layers(x)


# ---- networks


@MODELS.register_module()
class IFormerNoCPE(IFormer):
    """iFormer before the step "Positional Embedding"."""

    block_types = BLOCKS | dict(cpe=nn.Identity)


@MODELS.register_module()
class IFormerSHA(IFormer):
    """iFormer with :class:`SHA`, without CPE."""

    block_types = IFormerNoCPE.block_types | dict(shma=SHA)


@MODELS.register_module()
class IFormerMHA(IFormer):
    """iFormer with :class:`MHA`, without CPE."""

    block_types = IFormerNoCPE.block_types | dict(shma=MHA)


@MODELS.register_module()
class IFormerSplitSHA(IFormer):
    """iFormer with :class:`SplitSHA`, without CPE."""

    block_types = IFormerNoCPE.block_types | dict(shma=SplitSHA)


@MODELS.register_module()
class IFormerQuarterSHA(IFormer):
    """iFormer with :class:`QuarterSHA`, without CPE."""

    block_types = IFormerNoCPE.block_types | dict(shma=QuarterSHA)


@MODELS.register_module()
class IFormerConcatSHA(IFormer):
    """iFormer with :class:`ConcatSHA`, without CPE."""

    block_types = IFormerNoCPE.block_types | dict(shma=ConcatSHA)


@MODELS.register_module()
class IFormerSiLU(IFormer):
    """iFormer with :class:`SiLUSHMA`."""

    block_types = BLOCKS | dict(shma=SiLUSHMA)


@MODELS.register_module()
class IFormerPreLNSiLU(IFormer):
    """iFormer with :class:`PreLNSiLUSHMA`."""

    block_types = BLOCKS | dict(shma=PreLNSiLUSHMA)


@MODELS.register_module()
class IFormerMixingFFN(IFormer):
    """iFormer with depthwise convolutions in all FFNs, those of the conv blocks included."""

    block_types = BLOCKS | dict(conv=MixingConvBlock, ffn=MixingFFN)


@MODELS.register_module()
class IFormerSmallStem(IFormer):
    """iFormer before the step "Kernel Size": the stem has 3x3 convolutions."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for layer in self.stem[:2]:
            set_kernel(layer, 3)


@MODELS.register_module()
class IFormerSmallKernel(IFormerSmallStem):
    """The same with depthwise 3x3 convolutions."""

    block_types = BLOCKS | dict(conv=SmallKernelConvBlock)


@MODELS.register_module()
class LightConvNeXtWithStem(IFormerSmallStem):
    """ConvNeXt, lightened up to the step "Early Convolutions": its own blocks and downsampling, the new stem."""

    block_types = BLOCKS | dict(conv=ConvNeXtBlock)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for stage in self.stages[1:]:
            conv = stage.downsample.conv
            stage.downsample = nn.Sequential(
                LayerNorm2d(conv.in_channels), nn.Conv2d(conv.in_channels, conv.out_channels, 2, 2)
            )


@MODELS.register_module()
class LightConvNeXt(LightConvNeXtWithStem):
    """The baseline of section 3.1: a ConvNeXt of few and narrow blocks, without layer scale."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        first, last = self.stem[0].conv, self.stem[-1].conv
        self.stem = nn.Sequential(nn.Conv2d(first.in_channels, last.out_channels, 4, 4), LayerNorm2d(last.out_channels))


@MODELS.register_module()
class AblationClassifier(Classifier):
    """Any of these backbones with average pooling and iFormer's head.

    Args:
        backbone: Config of the backbone.
        num_classes, label_smoothing, data_preprocessor, init_cfg: As in :class:`Classifier`.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int = 1000,
        label_smoothing: float = 0.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(num_classes, label_smoothing, None, data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = Head(self.backbone.feature_info[-1]['channels'], num_classes)

    def logits(self, x: Tensor) -> Tensor:
        """As in :class:`Classifier`."""
        return self.head(self.backbone(x)[-1].mean((2, 3)))
