"""Cutting a map into windows and back, channel chunk by channel chunk (section F, equations 4 and 5)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .exporting import exporting


def partition(x: Tensor, window_size: int, num_chunks: int = 1) -> Tensor:
    """Cut a map into non-overlapping windows (equation 5).

    Args:
        x: The map (B, C, H, W); H and W are multiples of `window_size`.
        window_size: Side of a window, in pixels of the map.
        num_chunks: In exported graphs the channels are split into this many chunks, cut one after the other and
            concatenated. The result does not depend on it; on a phone the peak memory and the time do (Table 17).
            torch only loses time by it (docs/performance.md), so there all channels are cut at once.

    Returns:
        The windows (B nH nW, C, window_size, window_size), row by row within each map.
    """
    if num_chunks > 1 and exporting():
        return torch.cat([partition(chunk, window_size) for chunk in x.chunk(num_chunks, dim=1)], dim=1)
    _, channels, height, width = x.shape
    columns = width // window_size
    x = x.permute(0, 2, 3, 1)  # (B, H, W, C), as it is in memory
    x = x.reshape(-1, window_size, columns, window_size * channels)  # (B nH, ws, nW, ws C)
    x = x.transpose(1, 2).reshape(-1, window_size, window_size, channels)  # (B nH nW, ws, ws, C), the one copy
    return x.permute(0, 3, 1, 2)  # (B nH nW, C, ws, ws)


def reverse(windows: Tensor, height: int, width: int, num_chunks: int = 1) -> Tensor:
    """Join windows to the map they were cut from; the inverse of :func:`partition`.

    Args:
        windows: The windows (B nH nW, C, ws, ws).
        height: Height of the map, nH ws.
        width: Width of the map, nW ws.
        num_chunks: As in :func:`partition`.

    Returns:
        The map (B, C, height, width).
    """
    if num_chunks > 1 and exporting():
        return torch.cat([reverse(chunk, height, width) for chunk in windows.chunk(num_chunks, dim=1)], dim=1)
    _, channels, window_size, _ = windows.shape
    columns = width // window_size
    x = windows.permute(0, 2, 3, 1)  # (B nH nW, ws, ws, C), as it is in memory
    x = x.reshape(-1, columns, window_size, window_size * channels)  # (B nH, nW, ws, ws C)
    x = x.transpose(1, 2).reshape(-1, height, width, channels)  # (B, H, W, C), the one copy
    return x.permute(0, 3, 1, 2)  # (B, C, H, W)


def run_on_windows(run: Callable[[Tensor], Tensor], x: Tensor, window_size: int, num_chunks: int = 1) -> Tensor:
    """Pad, cut, `run` on the windows, join and crop.

    The map is padded with zeros at the right and the bottom. Nothing is masked: the padded tokens are keys like any
    other, as in the released network.

    Args:
        run: Maps windows (B nH nW, C, ws, ws) to windows of the same shape.
        x: The map (B, C, H, W) of any size.
        window_size: Side of a window, in pixels of the map.
        num_chunks: As in :func:`partition`.

    Returns:
        The map (B, C, H, W).
    """
    height, width = x.shape[-2:]
    bottom, right = -height % window_size, -width % window_size
    if bottom or right:
        x = F.pad(x, (0, right, 0, bottom))
    x = reverse(run(partition(x, window_size, num_chunks)), height + bottom, width + right, num_chunks)
    return x[..., :height, :width]
