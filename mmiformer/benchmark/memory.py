"""The memory that a pass takes, and the bytes that it keeps for the backward pass."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

_STATUS, _CLEAR = Path('/proc/self/status'), Path('/proc/self/clear_refs')
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def peak_memory(step: Callable[[], object], device: torch.device) -> int | None:
    """How many bytes more than before are in use at most while `step()` runs.

    On a GPU it is what torch's allocator gave out (what a CUDA graph holds was taken when it was recorded, and is not
    seen). On the CPU it is resident memory, what libraries take for themselves included. For that, glibc is told to
    give larger blocks back to the system as soon as they are freed. This holds for the rest of the process and makes it
    slower, so measure times first.

    Returns:
        The bytes, or None on systems that cannot tell (not Linux with glibc).
    """
    step()  # what it takes once and keeps does not count
    if device.type == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    libc = _glibc()
    if libc is None:
        return None
    step()  # now with blocks that go back to the system
    libc.malloc_trim(0)
    try:
        _CLEAR.write_text('5')  # the peak is forgotten
    except OSError:
        return None
    before = _resident('VmRSS')
    step()
    return _resident('VmHWM') - before


def _glibc() -> ctypes.CDLL | None:
    """glibc, told to give freed blocks from 64 KiB up back to the system."""
    libc = ctypes.CDLL(None)
    if not (_CLEAR.exists() and hasattr(libc, 'malloc_trim') and hasattr(libc, 'mallopt')):
        return None
    for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        libc.mallopt(parameter, 2**16)
    return libc


def _resident(field: str) -> int:
    return 1024 * int(re.search(rf'^{field}:\s+(\d+) kB$', _STATUS.read_text(), re.MULTILINE)[1])


def kept_for_backward(forward: Callable[[], object], weights: Iterable[Tensor]) -> int:
    """The bytes of the tensors that autograd keeps from `forward()` for the backward pass.

    Storages that several kept tensors share count once.

    Args:
        forward: Runs a forward pass and returns what the graph hangs on.
        weights: Parameters and buffers; they are there anyway and do not count.
    """
    there = {tensor.untyped_storage().data_ptr() for tensor in weights}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage  # held, so that no other storage gets its address
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(storage.nbytes() for address, storage in kept.items() if address not in there)
