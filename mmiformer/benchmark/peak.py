"""What the machine can do at most, measured: multiply-accumulates and bytes per second."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .timing import stopwatch

# (M, K, N): square ones, and the shape of a 1x1 convolution on a large map.
CPU_SHAPES = ((1024, 1024, 1024), (1536, 1536, 1536), (4096, 768, 768))
CUDA_SHAPES = ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 4096, 4096))


def matmul_peak(
    device: torch.device, dtype: torch.dtype, shapes: Sequence[tuple[int, int, int]] | None = None, repeats: int = 3
) -> float:
    """The best multiply-accumulates per second of several large matrix products.

    Args:
        device: Where to measure.
        dtype: Of the matrices.
        shapes: (M, K, N) of products (M, K) x (K, N). Default: several that fit the device.
        repeats: How often each product is timed; the fastest counts.
    """
    seconds, best = stopwatch(device), 0.0
    for m, k, n in shapes or (CUDA_SHAPES if device.type == 'cuda' else CPU_SHAPES):
        a, b = (torch.rand(shape, device=device).to(dtype) for shape in ((m, k), (k, n)))
        out = torch.empty(m, n, dtype=dtype, device=device)
        torch.mm(a, b, out=out)
        fastest = min(seconds(lambda a=a, b=b, out=out: torch.mm(a, b, out=out)) for _ in range(repeats))
        best = max(best, m * k * n / fastest)
    return best


def copy_peak(device: torch.device, size: int | None = None, repeats: int = 3) -> float:
    """The best bytes per second of copying a large tensor, read and written bytes together.

    Args:
        device: Where to measure.
        size: Bytes of the tensor. Default: more than caches hold.
        repeats: How often it is copied; the fastest counts.
    """
    size = size or (2**30 if device.type == 'cuda' else 2**27)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    seconds = stopwatch(device)
    return 2 * size / min(seconds(lambda: target.copy_(source)) for _ in range(repeats))
