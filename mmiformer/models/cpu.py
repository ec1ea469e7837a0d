"""The only module with private operators of torch, those of its CPU build.

Fused layers do GELU, or the sum with a residual, in the same pass over memory; packed weights are brought once, not at
each call, into the order in which MKL reads them. torch uses these operators itself when it compiles, but promises them
to nobody. So they are tried once, and where they are missing, wrong or unusable, the plain operators do the same.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from ..stack import autocasts_cpu, is_compiling
from .blocks import is_plain

# For small inputs packing dominates the product; with more rows than this, oneDNN's product is as fast.
PACKED_ROWS = 1024

# {layer: (number of rows, weights, their version, the same packed)}; not in the layer, which can be copied and saved
_packed: WeakKeyDictionary[nn.Linear, tuple[int, Tensor, int, Tensor | None]] = WeakKeyDictionary()


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """`layer(x)` for x (..., C')."""
    if _usable(x, layer) and (result := packed_linear(x, layer)) is not None:
        return result
    return layer(x)


def act_of_linear(x: Tensor, layer: nn.Linear, act: nn.Module) -> Tensor:
    """`act(layer(x))` for x (..., C')."""
    if _is_gelu(act) and _usable(x, layer):
        if (result := packed_linear(x, layer)) is not None:
            return torch.ops.aten.gelu_(result)
        return _linear_gelu(x, layer.weight, layer.bias)
    return act(layer(x))


def sum_with_linear(residual: Tensor, x: Tensor, layer: nn.Linear) -> Tensor:
    """`residual + layer(x)` for residual (..., C) and x (..., C')."""
    if _usable(x, layer):
        if (result := packed_linear(x, layer)) is not None:
            return result.add_(residual)
        return _linear_sum(residual, x, layer.weight, layer.bias)
    return residual + layer(x)


def act_of_conv(x: Tensor, layer: nn.Conv2d, act: nn.Module) -> Tensor:
    """`act(layer(x))` for a map x (B, C', H', W'), channels-last in memory."""
    if _is_gelu(act) and _usable(x, layer):
        padding = layer.padding
        if layer.in_channels >= 16:  # without padding oneDNN is faster, by more than a padded copy of the map costs
            x, padding = F.pad(x, (padding[1], padding[1], padding[0], padding[0])), (0, 0)
        return _conv_gelu(x, layer.weight, layer.bias, layer.stride, padding)
    return act(layer(x))


def packed_linear(x: Tensor, layer: nn.Linear) -> Tensor | None:
    """`layer(x)` with packed weights, for x (..., C') on the CPU and without gradients; a tensor of its own.

    Weights are packed for a number of rows when it comes twice in a row, since packing for images of changing sizes
    costs more than it gains. They are packed again when they have changed, except through `weight.data`, which torch
    does not track.

    Returns:
        None if they are not packed: too many rows, another data type than float32, or a processor that gains nothing.
    """
    weight, rows = layer.weight, x.numel() // x.shape[-1]
    wanted = 0 < rows <= PACKED_ROWS and x.dtype == weight.dtype == torch.float32 and not weight.is_inference()
    if not (wanted and _packs()):
        return None
    known_rows, known, version, packed = _packed.get(layer, (0, weight, 0, None))
    same = known_rows == rows and known.data_ptr() == weight.data_ptr() and version == weight._version
    if packed is None or not same:
        packed = _pack(weight, rows) if same else None
        _packed[layer] = rows, weight.detach(), weight._version, packed
    return None if packed is None else _packed_product(x, packed, weight, layer.bias, rows)


def has_bf16() -> bool:
    """Whether the processor has arithmetic in bfloat16, without which it is slower than float32; False if unknown."""
    return bool({'avx512_bf16', 'amx_bf16', 'bf16'} & _cpuinfo())  # x86 and, the last, Arm


@cache
def _cpuinfo() -> frozenset[str]:
    try:
        return frozenset(Path('/proc/cpuinfo').read_text().split())
    except OSError:  # not Linux
        return frozenset()


def _is_gelu(act: nn.Module) -> bool:
    return is_plain(act, nn.GELU.forward) and act.approximate == 'none'


def _usable(x: Tensor, layer: nn.Module) -> bool:
    return (
        not is_compiling()  # torch fuses by itself
        and type(x) is Tensor  # nothing that stands for one
        and x.device.type == 'cpu'
        and x.dtype in (torch.float32, torch.bfloat16)
        and is_plain(layer, nn.Linear.forward, nn.Conv2d.forward)
        and not torch.is_grad_enabled()  # they have no gradient
        and getattr(forward_ad, '_current_level', -1) < 0  # nor a tangent
        and not torch.jit.is_tracing()
        and not autocasts_cpu()  # they would not be cast
        and _work(x.dtype)
    )


@cache
def _work(dtype: torch.dtype) -> bool:
    """Whether torch has the operators for this data type, and they do what is expected."""
    kind = dict(dtype=dtype, device='cpu')  # whatever the defaults are at the first call
    x, weight = torch.linspace(-2, 2, 64, **kind).view(2, 8, 4).unbind()
    weight, bias = weight[:4], torch.ones(4, **kind)
    map_ = x.view(1, 2, 4, 4).permute(0, 3, 1, 2)  # (B, C, H, W), channels-last
    kernel = weight[:, :, None, None]
    plain = (
        F.gelu(F.linear(x, weight, bias)),
        x + F.linear(x, weight, bias),
        F.gelu(F.conv2d(map_, kernel, bias, 2, 1)),
    )
    try:  # the fused operators alone: what else fails here is a bug
        fused = (
            _linear_gelu(x, weight, bias),
            _linear_sum(x, x, weight, bias),
            _conv_gelu(map_, kernel, bias, (2, 2), (1, 1)),
        )
    except (AttributeError, RuntimeError):  # there is none of that name, or not with these arguments or this dtype
        return False
    error = max((one.float() - other.float()).abs().max() for one, other in zip(fused, plain, strict=True))
    return bool(error < 50 * torch.finfo(dtype).eps)


@cache
def _packs() -> bool:
    """Whether packing gains time, as MKL's does on Intel's processors alone, and torch's operators for it are right."""
    if 'GenuineIntel' not in _cpuinfo():
        return False
    kind = dict(dtype=torch.float32, device='cpu')  # whatever the defaults are at the first call
    x, weight = torch.linspace(-2, 2, 64, **kind).view(2, 8, 4).unbind()
    bias = torch.ones(8, **kind)
    try:
        found = _packed_product(x, _pack(weight, 8), weight, bias, 8)
    except (AttributeError, RuntimeError):  # there is none of that name, or not with these arguments
        return False
    return torch.allclose(found, F.linear(x, weight, bias), rtol=0, atol=1e-5)


def _pack(weight: Tensor, rows: int) -> Tensor:
    return torch.ops.mkl._mkl_reorder_linear_weight(weight.detach(), rows)


def _packed_product(x: Tensor, packed: Tensor, weight: Tensor, bias: Tensor, rows: int) -> Tensor:
    return torch.ops.mkl._mkl_linear(x, packed, weight, bias, rows)


def _linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'gelu', [], 'none')


def _linear_sum(residual: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.binary(x, residual, weight, bias, 'add')


def _conv_gelu(x: Tensor, weight: Tensor, bias: Tensor, stride: tuple, padding: tuple) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, padding, stride, (1, 1), 1, 'gelu', [], 'none')
