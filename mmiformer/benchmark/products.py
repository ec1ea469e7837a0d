"""The matrix products and convolutions of a pass: their multiply-accumulates, and what they read and write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


class Product(NamedTuple):
    """A matrix product or a convolution.

    Attributes:
        macs: Multiply-accumulates.
        numbers: How many numbers it reads and writes: operands and result, each once.
    """

    macs: int
    numbers: int


def products(step: Callable[[], object]) -> list[Product]:
    """The products of what `step()` does, in order.

    The step must be written in plain operations: compiled code and operations fused for inference are not seen.
    """
    counter = FlopCounterMode(display=False)
    with _unfused_attention(), counter, _Record(counter) as record:
        step()
    return record.products


def _unfused_attention() -> AbstractContextManager:
    """Attention as its two products: torch has no formula for some of the fused kernels."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # before torch 2.3
        return torch.backends.cuda.sdp_kernel(enable_flash=False, enable_mem_efficient=False)
    return sdpa_kernel(SDPBackend.MATH)


class _Record(TorchDispatchMode):
    def __init__(self, counter: FlopCounterMode):
        super().__init__()
        self.counter = counter
        self.products: list[Product] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = self.counter.get_total_flops()
        result = func(*args, **(kwargs or {}))  # through the counter, the mode outside this one
        if flops := self.counter.get_total_flops() - before:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            # torch counts a multiplication and an addition as two operations
            self.products.append(Product(flops // 2, sum(tensor.numel() for tensor in tensors)))
        return result


def with_backward(forward: Sequence[Product]) -> list[Product]:
    """The products of a forward and a backward pass, from those of the forward pass.

    Each has two gradients, each of them a product of the same size; the image, which the first one reads, needs none.
    (torch's own count of a backward pass takes grouped convolutions for full ones.)
    """
    return [*forward, *forward, *forward[1:]]


def roofline(work: Sequence[Product], macs_per_second: float, bytes_per_second: float, itemsize: int) -> float:
    """The least time of the products, in seconds, one after the other.

    Each takes as long as its multiply-accumulates need at the peak, or as its numbers need to come from and go to main
    memory, whichever is longer. All else is taken to cost nothing. Where caches keep maps between products, a network
    can be faster than this.

    Args:
        work: The products.
        macs_per_second: Peak of the arithmetic.
        bytes_per_second: Peak of the memory.
        itemsize: Bytes of a number.
    """
    return sum(max(p.macs / macs_per_second, p.numbers * itemsize / bytes_per_second) for p in work)
