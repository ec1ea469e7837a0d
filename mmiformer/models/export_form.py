"""The export form of a trained backbone: the same outputs as a graph for other runtimes.

Batch norms, the residual of CPE, layer scale and the scale of attention are folded into the convolutions before them.
Attention runs channels-first on flat maps (B, C, HW), where 1x1 convolutions are 1-D ones. No tensor has more than four
dimensions, no output is a view, and no operator only makes a copy.
"""

from __future__ import annotations

import copy
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import CPE, FFN, SHMA, ConvBlock, ConvBN
from .deploy import check, fold, fold_cpe, fold_query
from .windows import partition, reverse


class Bottleneck(nn.Module):
    """A conv block, or an FFN, which is one without depthwise convolution."""

    def __init__(self, block: ConvBlock | FFN):
        super().__init__()
        layers = [fold(block.dwconv)] if isinstance(block, ConvBlock) else []
        self.branch = nn.Sequential(
            *layers, fold(block.expand), copy.deepcopy(block.expand.act), fold(block.project, block.gamma)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        return x + self.branch(x)


class Attention(nn.Module):
    """Single-head modulation attention on flat maps.

    Args:
        block: The attention of the backbone.
        fused: Whether torch's fused operator stands for its two products, with the scale that is its default.
    """

    def __init__(self, block: SHMA, fused: bool = False):
        super().__init__()
        self.modulation, self.fused = block.modulation, fused
        self.q, self.k = flat(fold(block.q) if fused else fold_query(block)), flat(fold(block.k))
        self.v_gate = flat(fold(block.v_gate))
        self.project = flat(fold(block.project, block.gamma))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        tokens = x.flatten(2)  # (B, C, HW)
        q, k, v_gate = self.q(tokens), self.k(tokens), self.v_gate(tokens)  # (B, D, HW) twice, (B, 2 C, HW)
        if self.modulation == 'value':
            v, gate = v_gate.sigmoid().chunk(2, dim=1)  # two of (B, C, HW)
        else:
            v, gate = v_gate.chunk(2, dim=1)
            gate = gate.sigmoid()
        if self.fused:
            rows = (part.transpose(1, 2) for part in (q, k, v))  # (B, HW, D) twice, (B, HW, C)
            context = F.scaled_dot_product_attention(*rows).transpose(1, 2)  # (B, C, HW)
        else:
            attention = torch.bmm(k.transpose(1, 2), q).softmax(dim=1)  # (B, keys, queries)
            context = torch.bmm(v, attention)  # (B, C, HW)
        if self.modulation == 'context':
            context = context.sigmoid()
        return x + self.project(gate * context).reshape(x.shape)  # (B, C, HW) -> (B, C, H, W)


def flat(conv: nn.Conv2d) -> nn.Conv1d:
    """The 1-D convolution on (B, C', HW) that does what a 1x1 convolution does."""
    layer = nn.Conv1d(conv.in_channels, conv.out_channels, 1)
    layer.weight, layer.bias = nn.Parameter(conv.weight.flatten(2), requires_grad=False), conv.bias
    return layer


class ExportStage(nn.Module):
    """A stage whose windows are cut and joined in channel chunks.

    Args:
        stage: A stage of the backbone.
        num_chunks: As in :func:`~mmiformer.models.windows.partition`.
        by_slices: As in :func:`~mmiformer.models.windows.partition`.
        fused_attention: As in :func:`export_form`.
    """

    def __init__(self, stage: nn.Module, num_chunks: int, by_slices: bool, fused_attention: bool):
        super().__init__()
        downsample = fold(stage.downsample) if isinstance(stage.downsample, ConvBN) else nn.Identity()
        make = {**_EXPORTED, SHMA: partial(Attention, fused=fused_attention)}
        blocks = [make[type(block)](block) for block in stage.blocks]
        start, stop = stage.span
        self.before = nn.Sequential(downsample, *blocks[:start])
        self.windowed = nn.Sequential(*blocks[start:stop])
        self.after = nn.Sequential(*blocks[stop:])
        self.window_size, self.options = stage.window_size, dict(num_chunks=num_chunks, by_slices=by_slices)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C', H', W') to (B, C, H, W)."""
        x = self.before(x)
        if len(self.windowed):
            height, width = x.shape[-2:]
            x = partition(x, self.window_size, **self.options)  # (B nH nW, C, ws, ws)
            x = self.windowed(x)
            x = reverse(x, height, width, **self.options)  # (B, C, H, W)
        return self.after(x)


class ExportForm(nn.Module):
    """What :func:`export_form` makes.

    Args:
        backbone: An `IFormer` in evaluation mode.
        num_chunks: As in :func:`~mmiformer.models.windows.partition`.
        by_slices: As in :func:`~mmiformer.models.windows.partition`.
        fused_attention: As in :func:`export_form`.

    Attributes:
        out_indices, feature_info: As in `IFormer`.
    """

    def __init__(self, backbone: nn.Module, num_chunks: int, by_slices: bool, fused_attention: bool):
        super().__init__()
        self.out_indices, self.feature_info = backbone.out_indices, backbone.feature_info
        first, second, last = backbone.stem
        self.stem = nn.Sequential(
            *(fold(first), copy.deepcopy(first.act), fold(second), copy.deepcopy(second.act), fold(last))
        )
        self.stages = nn.ModuleList(
            ExportStage(stage, num_chunks, by_slices, fused_attention) for stage in backbone.stages
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to the backbone's feature maps."""
        x = self.stem(x)
        outputs = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.out_indices:
                outputs.append(x)
        return tuple(outputs)


_EXPORTED = {ConvBlock: Bottleneck, FFN: Bottleneck, CPE: fold_cpe}


@torch.no_grad()
def fold_heads(classifier: nn.Module) -> nn.Linear:
    """The linear layer that does what a classifier's head does, or the mean of its two heads."""
    heads = [classifier.head, *([classifier.head_dist] if classifier.distillation else [])]
    weights, biases = [], []
    for head in heads:
        scale = head.norm.weight / (head.norm.running_var + head.norm.eps).sqrt()
        weights.append(head.fc.weight * scale)
        biases.append(head.fc.bias + head.fc.weight @ (head.norm.bias - head.norm.running_mean * scale))
    weight = sum(weights) / len(heads)
    linear = nn.Linear(*weight.shape[::-1])
    linear.weight = nn.Parameter(weight, requires_grad=False)
    linear.bias = nn.Parameter(sum(biases) / len(heads), requires_grad=False)
    return linear


@torch.no_grad()
def export_form(
    backbone: nn.Module, num_chunks: int | None = None, by_slices: bool = False, fused_attention: bool = False
) -> ExportForm:
    """The export form of a trained backbone, which is left as it is.

    Args:
        backbone: An `IFormer` that is not in its deploy form.
        num_chunks: Channel chunks in which windows are cut and joined; None for the backbone's `num_chunks`.
        by_slices: Whether windows are slices of the map, in a graph of a fixed size with no reshape for them.
        fused_attention: Whether attention is one operator, where the runtime has it, at the price of transposes.

    Raises:
        ValueError: The backbone is in its deploy form, or has a layer that cannot be folded.
    """
    if backbone.deploy:
        raise ValueError('an IFormer in its deploy form has no export form: take the network before switch_to_deploy()')
    check(backbone)
    num_chunks = backbone.num_chunks if num_chunks is None else num_chunks
    return ExportForm(backbone, num_chunks, by_slices, fused_attention).eval()
