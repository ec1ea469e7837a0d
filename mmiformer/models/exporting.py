"""Telling a graph that is recorded for another runtime from computation in torch."""

import torch


def exporting() -> bool:
    """Whether the graph is being exported or traced; the runtime it is for has ways of its own to be fast.

    Then batch norms stay layers, maps have no memory layout, and windows are cut chunk by chunk, as phones need it.
    """
    is_exporting = getattr(torch.compiler, 'is_exporting', lambda: False)  # newer than torch 2.1
    return torch.jit.is_tracing() or is_exporting()
