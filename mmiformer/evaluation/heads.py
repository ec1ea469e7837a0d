"""How alike the heads of multi-head attention are (figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def similarity(attention: Tensor) -> Tensor:
    """Mean cosine similarity of the attention maps of different heads.

    Args:
        attention: Attention (B, heads, N, M), with two heads or more.

    Returns:
        For each image or window of the batch the mean over all pairs of heads, (B,).
    """
    heads = attention.shape[1]
    maps = F.normalize(attention.flatten(2).double(), dim=-1)  # (B, heads, N M)
    # The sum over all pairs, each head with itself included, is the squared length of the sum.
    return (maps.sum(1).square().sum(-1) - heads) / (heads * (heads - 1))


class _Recorder(TorchFunctionMode):
    """Notes the similarity in each multi-head attention that is run, whichever module runs it."""

    def __init__(self):
        super().__init__()
        self.layers = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            self.note(_weights(*args, **kwargs))
        elif func in (torch.softmax, Tensor.softmax, F.softmax):
            self.note(result)
        return result

    def note(self, attention: Tensor) -> None:
        if attention.dim() == 4 and attention.shape[1] > 1:  # (B, heads, N, M)
            self.layers.append(similarity(attention))


def _weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    *,
    scale: float | None = None,
    **_: object,
) -> Tensor:
    """The attention that torch's fused operator does not return."""
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(dim=-1)


@torch.no_grad()
def head_similarity(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Similarity of the heads in each multi-head attention of a network, in the order in which they run.

    Args:
        network: In evaluation mode. Its attention is a softmax of (B, heads, N, M), or torch's fused operator.
        images: Normalized images (B, 3, H, W).

    Returns:
        For each layer :func:`similarity`, of each image or, where attention runs on windows, of each window.
    """
    with _Recorder() as recorder:
        network(images)
    return recorder.layers


def draw_similarity(layers: Sequence[Tensor], title: str) -> Figure:
    """The distribution in each layer, and the line of the means."""
    figure = Figure(figsize=(max(5, 0.5 * len(layers) + 2), 3.6), layout='constrained')
    axes = figure.subplots()
    depths = range(1, len(layers) + 1)
    axes.boxplot([layer.tolist() for layer in layers], positions=depths, widths=0.5, showfliers=False)
    axes.plot(depths, [layer.mean().item() for layer in layers], 'o-', color='#e45756', label='mean')
    axes.set(xlabel='layer with several heads', ylabel='cosine similarity of heads', ylim=(0, 1.02), title=title)
    axes.legend(loc='lower right')
    return figure
