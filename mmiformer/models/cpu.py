"""The only module with private operators of torch, those of its CPU build.

Layers with what follows them done in the same pass over memory: GELU, and the sum with a residual. torch has oneDNN's
fused layers as operators that it uses itself when it compiles, and promises to nobody. They are tried once; where they
are missing or wrong, or cannot be used, the plain operators do the same.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from .blocks import is_plain


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """`layer(x)` for x (..., C')."""
    return layer(x)


def act_of_linear(x: Tensor, layer: nn.Linear, act: nn.Module) -> Tensor:
    """`act(layer(x))` for x (..., C')."""
    if _is_gelu(act) and _usable(x, layer):
        return _linear_gelu(x, layer.weight, layer.bias)
    return act(layer(x))


def sum_with_linear(residual: Tensor, x: Tensor, layer: nn.Linear) -> Tensor:
    """`residual + layer(x)` for residual (..., C) and x (..., C')."""
    if _usable(x, layer):
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


@cache
def has_bf16() -> bool:
    """Whether the processor has arithmetic in bfloat16, without which it is slower than float32; False if unknown."""
    try:
        words = Path('/proc/cpuinfo').read_text().split()
    except OSError:
        return False
    return bool({'avx512_bf16', 'amx_bf16', 'bf16'} & set(words))  # x86 and, the last, Arm


def _is_gelu(act: nn.Module) -> bool:
    return is_plain(act, nn.GELU.forward) and act.approximate == 'none'


def _usable(x: Tensor, layer: nn.Module) -> bool:
    return (
        type(x) is Tensor  # nothing that stands for one
        and x.device.type == 'cpu'
        and x.dtype in (torch.float32, torch.bfloat16)
        and is_plain(layer, nn.Linear.forward, nn.Conv2d.forward)
        and not torch.is_grad_enabled()  # they have no gradient
        and getattr(forward_ad, '_current_level', -1) < 0  # nor a tangent
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()  # torch fuses by itself
        and not _autocasts()  # they would not be cast
        and _work(x.dtype)
    )


def _autocasts() -> bool:
    try:
        return torch.is_autocast_enabled('cpu')
    except TypeError:  # before torch 2.4
        return torch.is_autocast_cpu_enabled()


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


def _linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'gelu', [], 'none')


def _linear_sum(residual: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.binary(x, residual, weight, bias, 'add')


def _conv_gelu(x: Tensor, weight: Tensor, bias: Tensor, stride: tuple, padding: tuple) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, padding, stride, (1, 1), 1, 'gelu', [], 'none')
