"""Cutting a map into windows and joining them, in channel chunks where asked for (section F, equations 4 and 5)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def partition(x: Tensor, window_size: int, num_chunks: int = 1, by_slices: bool = False) -> Tensor:
    """Cut a map into non-overlapping windows (equation 5).

    The map is padded with zeros at the right and the bottom. Nothing is masked: padded tokens are keys like any other,
    as in the released network.

    Args:
        x: The map (B, C, H, W) of any size.
        window_size: Side ws of a window, in pixels of the map.
        num_chunks: Channel chunks that are cut one after the other and concatenated. The result does not depend on it;
            on a phone the peak memory and the time do (Table 17).
        by_slices: Whether each window is a slice of the map, instead of two reshapes and a transpose for all of them.

    Returns:
        The windows (B nH nW, C, ws, ws), row by row within each map; by slices, map by map within each window.
    """
    height, width = x.shape[-2:]
    if height % window_size or width % window_size:
        x = F.pad(x, (0, -width % window_size, 0, -height % window_size))
    if by_slices:
        return _in_chunks(lambda x: _slice(x, window_size), x, num_chunks, dim=1)
    x = x.permute(0, 2, 3, 1)  # (B, H, W, C), as it is in memory
    x = _in_chunks(lambda x: _cut(x, window_size), x, num_chunks, dim=3)  # (B nH nW, ws, ws, C)
    return x.permute(0, 3, 1, 2)  # (B nH nW, C, ws, ws)


def reverse(windows: Tensor, height: int, width: int, num_chunks: int = 1, by_slices: bool = False) -> Tensor:
    """Join windows to the map that they were cut from, without its padding; the inverse of :func:`partition`.

    Args:
        windows: The windows (B nH nW, C, ws, ws).
        height: Height of the map.
        width: Width of the map.
        num_chunks: As in :func:`partition`.
        by_slices: As in :func:`partition`.

    Returns:
        The map (B, C, height, width).
    """
    window_size = windows.shape[-1]
    rows, columns = -(-height // window_size), -(-width // window_size)
    if by_slices:
        x = _in_chunks(lambda windows: _concatenate(windows, rows, columns), windows, num_chunks, dim=1)
    else:
        x = windows.permute(0, 2, 3, 1)  # (B nH nW, ws, ws, C), as it is in memory
        x = _in_chunks(lambda windows: _join(windows, rows, columns), x, num_chunks, dim=3)  # (B, H, W, C)
        x = x.permute(0, 3, 1, 2)  # (B, C, H, W)
    # Only where there is padding: a graph for another runtime should not hold a crop of nothing.
    return x[..., :height, :width] if height % window_size or width % window_size else x


def _in_chunks(run: Callable[[Tensor], Tensor], x: Tensor, number: int, dim: int) -> Tensor:
    return run(x) if number == 1 else torch.cat([run(chunk) for chunk in x.chunk(number, dim)], dim)


def _cut(x: Tensor, window_size: int) -> Tensor:
    _, _, width, channels = x.shape
    columns = width // window_size
    x = x.reshape(-1, window_size, columns, window_size * channels)  # (B nH, ws, nW, ws C)
    return x.transpose(1, 2).reshape(-1, window_size, window_size, channels)  # (B nH nW, ws, ws, C), the one copy


def _join(windows: Tensor, rows: int, columns: int) -> Tensor:
    _, window_size, _, channels = windows.shape
    x = windows.reshape(-1, columns, window_size, window_size * channels)  # (B nH, nW, ws, ws C)
    x = x.transpose(1, 2)  # (B nH, ws, nW, ws C)
    return x.reshape(-1, rows * window_size, columns * window_size, channels)  # (B, H, W, C), the one copy


def _slice(x: Tensor, window_size: int) -> Tensor:
    rows = x.split(window_size, dim=2)  # of (B, C, ws, W)
    return torch.cat([window for row in rows for window in row.split(window_size, dim=3)])  # (nH nW B, C, ws, ws)


def _concatenate(windows: Tensor, rows: int, columns: int) -> Tensor:
    windows = windows.chunk(rows * columns)  # of (B, C, ws, ws)
    return torch.cat([torch.cat(windows[i * columns : (i + 1) * columns], dim=3) for i in range(rows)], dim=2)
