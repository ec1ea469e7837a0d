"""An interpreter of Core ML's programs in torch, so that their numbers can be checked on any system.

It computes in float32: of fp16 and int8 it shows what rounding the weights and the image does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import coremltools as ct
import numpy as np
import torch
import torch.nn.functional as F
from coremltools.converters.mil.frontend.milproto.load import load as load_program
from torch import Tensor


def conv(x, weight, bias=None, strides=None, pad_type='valid', pad=None, dilations=None, groups=1):
    if pad_type == 'custom':
        x = F.pad(x, list(pad[2:]) + list(pad[:2]) if x.dim() == 4 else list(pad))
    else:
        assert pad_type == 'valid'
    run = F.conv2d if x.dim() == 4 else F.conv1d
    return run(x, weight, bias, tuple(strides or [1] * (x.dim() - 2)), groups=int(groups))


def matmul(x, y, transpose_x=False, transpose_y=False):
    return (x.transpose(-1, -2) if transpose_x else x) @ (y.transpose(-1, -2) if transpose_y else y)


def slice_by_index(x, begin, end, stride=None, begin_mask=None, end_mask=None, squeeze_mask=None):
    assert not any(squeeze_mask or []) and all(step == 1 for step in stride or [])
    free = [False] * x.dim()
    starts = [None if skip else at for at, skip in zip(begin, begin_mask or free, strict=True)]
    stops = [None if skip else at for at, skip in zip(end, end_mask or free, strict=True)]
    return x[tuple(map(slice, starts, stops))]


def pad(x, pad, mode='constant', constant_val=0.0):
    assert mode == 'constant'
    pairs = np.reshape(pad, (-1, 2))[::-1]
    return F.pad(x, [int(side) for side in pairs.flatten()], value=float(constant_val))


def split(x, axis, num_splits=None, split_sizes=None):
    return x.split([int(size) for size in split_sizes], axis) if split_sizes else x.chunk(num_splits, axis)


def attention(query, key, value):
    return F.scaled_dot_product_attention(query, key, value)


OPERATORS: dict[str, Callable] = {
    'add': lambda x, y: x + y,
    'cast': lambda x, dtype: x.half().float() if dtype == 'fp16' else x,
    'concat': lambda values, axis, interleave=False: torch.cat(values, axis),
    'conv': conv,
    'expand_dims': lambda x, axes: x[(None,) * len(axes)] if list(axes) == [0] else x.unsqueeze(axes[0]),
    'gelu': lambda x, mode: F.gelu(x, approximate=dict(EXACT='none', TANH_APPROXIMATION='tanh')[mode]),
    'linear': F.linear,
    'matmul': matmul,
    'mul': lambda x, y: x * y,
    'pad': pad,
    'reduce_mean': lambda x, axes, keep_dims: x.mean(tuple(axes), keep_dims),
    'reshape': lambda x, shape: x.reshape(tuple(shape)),
    'scaled_dot_product_attention': attention,
    'sigmoid': torch.sigmoid,
    'slice_by_index': slice_by_index,
    'softmax': lambda x, axis: x.softmax(axis),
    'split': split,
    'squeeze': lambda x, axes: x.squeeze(tuple(axes)),
    'transpose': lambda x, perm: x.permute(tuple(perm)),
}
NAMES = {'linear': {'x': 'input'}, 'sigmoid': {'x': 'input'}}


def plain(value: object) -> object:
    """A constant as torch or Python has it: weights as tensors, settings as numbers, lists and texts."""
    if isinstance(value, np.ndarray) and value.dtype.kind == 'f' and value.ndim:
        return torch.from_numpy(np.array(value, dtype=np.float32))
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


class Program:
    """A saved package, opened again.

    Args:
        path: The `.mlpackage`.
    """

    def __init__(self, path: Path):
        model = ct.models.MLModel(str(path), skip_model_load=True)
        self.spec = model.get_spec()
        version = self.spec.specificationVersion
        program = load_program(self.spec, specification_version=version, file_weights_dir=model.weights_dir)
        self.main = program.functions['main']

    def operations(self) -> list:
        return [operation for operation in self.main.operations if operation.op_type != 'const']

    def __call__(self, image: Tensor) -> list[Tensor]:
        values = {self.main.inputs['image']: image}

        def value(variable):
            if isinstance(variable, (list, tuple)):
                return [value(one) for one in variable]
            return values[variable] if variable in values else plain(variable.val)

        for operation in self.operations():
            kind = operation.op_type
            if kind.startswith('constexpr'):
                outputs = [plain(operation.materialized_val_inference())]
            else:
                inputs = {name: value(one) for name, one in operation.inputs.items() if one is not None}
                inputs = {NAMES.get(kind, {}).get(name, name): one for name, one in inputs.items() if one is not None}
                outputs = OPERATORS[kind](**inputs)
                outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            values.update(zip(operation.outputs, outputs, strict=True))
        return [values[output] for output in self.main.outputs]
