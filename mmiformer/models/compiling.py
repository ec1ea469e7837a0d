"""Compiling the backbone inside a detector or segmentor, for images of any size."""

from __future__ import annotations

from torch import nn

from ..stack import graph_limit
from .iformer import IFormer

GRAPHS = 64  # of all kinds and widths of blocks, with and without gradients; torch's own limit of 8 is for one function


def allow_graphs(number: int) -> None:
    """Let torch compile a function at least so many times, for other shapes or modules, before it gives up."""
    from torch._dynamo import config  # takes a second, which only who compiles shall wait

    limit = graph_limit()
    setattr(config, limit, max(getattr(config, limit), number))


def compile_backbones(model: nn.Module, **options) -> int:
    """Let torch compile all backbones of a model in place, at their next call.

    Stem, downsamplings and blocks are compiled each by itself, for any size of the map: blocks of one shape share what
    was compiled, cutting windows stays outside, where its arithmetic with sizes would take the compiler minutes, and
    state dicts keep their keys.

    Args:
        model: A detector, a segmentor or a backbone.
        options: Of `torch.compile`, besides `dynamic`.

    Returns:
        How many backbones there were.
    """
    allow_graphs(GRAPHS)
    backbones = [module for module in model.modules() if isinstance(module, IFormer)]
    for backbone in backbones:
        parts = [backbone.stem]
        for stage in backbone.stages:
            parts += [stage.downsample, *stage.blocks]
        for part in parts:
            if not isinstance(part, nn.Identity):
                part.compile(dynamic=True, **options)
    return len(backbones)
