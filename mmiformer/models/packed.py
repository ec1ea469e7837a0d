"""Linear layers whose weights are packed once, not at each call, in the order in which MKL reads them.

Of few rows, packing is a good part of a product. torch has it as operators that it uses itself when it compiles, and
promises to nobody. They are tried once; where they are missing or wrong, nothing is packed.
"""

from __future__ import annotations

from functools import cache
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 1024  # beyond, oneDNN's product, with what follows it fused, is as fast or faster (docs/performance.md)

# {layer: (number of rows, weights, their version, the same packed)}; not in the layer, which can be copied and saved
_packed: WeakKeyDictionary[nn.Linear, tuple[int, Tensor, int, Tensor | None]] = WeakKeyDictionary()


def packed_linear(x: Tensor, layer: nn.Linear) -> Tensor | None:
    """`layer(x)` with packed weights, for x (..., C') on the CPU and without gradients; a tensor of its own.

    They are packed for a number of rows when it comes twice running, since for images of ever other sizes that would be
    in vain, and again when the weights have changed (not through `weight.data`, of which torch keeps no account).

    Returns:
        None if they are not packed: too many rows, another data type than float32, or no operators for it.
    """
    weight, rows = layer.weight, x.numel() // x.shape[-1]
    if not (0 < rows <= ROWS and x.dtype == weight.dtype == torch.float32 and not weight.is_inference() and _work()):
        return None
    known_rows, known, version, packed = _packed.get(layer, (0, weight, 0, None))
    same = known_rows == rows and known.data_ptr() == weight.data_ptr() and version == weight._version
    if packed is None or not same:
        packed = _pack(weight, rows) if same else None
        _packed[layer] = rows, weight.detach(), weight._version, packed
    return None if packed is None else _linear(x, packed, weight, layer.bias, rows)


@cache
def _work() -> bool:
    """Whether torch has the operators, and they do what is expected."""
    kind = dict(dtype=torch.float32, device='cpu')  # whatever the defaults are at the first call
    x, weight = torch.linspace(-2, 2, 64, **kind).view(2, 8, 4).unbind()
    bias = torch.ones(8, **kind)
    try:
        found = _linear(x, _pack(weight, 8), weight, bias, 8)
    except (AttributeError, RuntimeError):  # there is none of that name, or not with these arguments
        return False
    return torch.allclose(found, F.linear(x, weight, bias), rtol=0, atol=1e-5)


def _pack(weight: Tensor, rows: int) -> Tensor:
    return torch.ops.mkl._mkl_reorder_linear_weight(weight.detach(), rows)


def _linear(x: Tensor, packed: Tensor, weight: Tensor, bias: Tensor, rows: int) -> Tensor:
    return torch.ops.mkl._mkl_linear(x, packed, weight, bias, rows)
