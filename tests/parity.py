"""Weights, images and reference outputs of the released iFormer code, made without a weight file.

The released key tables (`data/released_keys.json.gz`: {classifier: {released key: shape}}) and NumPy alone give every
parameter a deterministic value. With these very values the released code computed what is in `data/dense.npz`,
`data/dense64.npz` (in double precision, gradients too) and `data/classification.npz`. So a test compares this network
with the original one, although neither its code nor a weight file is at hand.
"""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / 'data'
CLASSIFIERS = ('cls_t', 'cls_s', 'cls_m', 'cls_l', 'cls_l2_distill', 'cls_h')  # those of classification.npz
DENSE = ('dense_m', 'dense_l', 'dense_l2')  # those of dense.npz


@functools.cache
def _tables() -> dict[str, dict[str, tuple[int, ...]]]:
    with gzip.open(DATA / 'released_keys.json.gz', 'rt') as file:
        return {name: {key: tuple(s) for key, s in table.items()} for name, table in json.load(file).items()}


def released_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """{released key: shape} of `cls_{arch}`, `cls_{arch}_distill` or `dense_{arch}` (a backbone, without any head)."""
    kind, arch = name.split('_', 1)
    tables = _tables()
    if name in tables:
        return dict(tables[name])
    # The table of the distilled classifier holds those of the classifier with one head and of the backbone alone.
    table = tables.get(f'cls_{arch}_distill') or tables[f'cls_{arch}']
    dropped = {'cls': 'classifier.classifier_dist.', 'dense': 'classifier.'}[kind]
    return {key: shape for key, shape in table.items() if not key.startswith(dropped)}


def array(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 array that stands for the released parameter or buffer `key`."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    name = key.rsplit('.', 1)[-1]
    if name == 'num_batches_tracked':
        return np.zeros(shape, np.int64)
    noise = rng.standard_normal(shape).astype(np.float32)
    if name == 'running_var':
        return 1.0 + 0.2 * np.abs(noise)
    if name in ('running_mean', 'bias'):
        return 0.1 * noise
    if name == 'gamma':  # layer scale
        return 0.5 + 0.1 * noise
    if len(shape) == 1:  # the scale of a batch norm
        return 1.0 + 0.1 * noise
    return noise * np.float32(np.prod(shape[1:]) ** -0.5)


def released_state_dict(name: str) -> dict[str, torch.Tensor]:
    """The deterministic weights of `cls_{arch}[_distill]` or `dense_{arch}` under the released code's keys."""
    return {key: torch.from_numpy(np.asarray(array(key, shape))) for key, shape in released_shapes(name).items()}


@functools.cache
def _released(name: str) -> dict[str, torch.Tensor]:
    return released_state_dict(name)


def released(name: str) -> dict[str, torch.Tensor]:
    """:func:`released_state_dict`, made once: the tensors are shared among the tests."""
    return dict(_released(name))


def shapes_alone(name: str) -> dict[str, torch.Tensor]:
    """Tensors of the right shapes and distinct identities, without values: quick to make for the large variants."""
    return {key: torch.empty(shape, device='meta') for key, shape in released_shapes(name).items()}


def detector_file(name: str = 'cls_t') -> dict[str, torch.Tensor]:
    """The state dict of a detector in the released layout."""
    backbone = {key: tensor for key, tensor in released(name).items() if not key.startswith('classifier.')}
    others = {'neck.weight': torch.rand(2, 2), 'neck.bias': torch.rand(2)}
    others |= {key.replace('neck', 'rpn_head'): tensor + 1 for key, tensor in others.items()}
    return {f'backbone.{key}': tensor for key, tensor in backbone.items()} | others


def image(height: int, width: int, batch: int = 1) -> torch.Tensor:
    """The normalized input batch of the fixtures, float32 (batch, 3, height, width)."""
    rng = np.random.default_rng(height * 100003 + width)
    return torch.from_numpy(rng.standard_normal((batch, 3, height, width)).astype(np.float32))


def probe(array: torch.Tensor | np.ndarray, count: int = 256) -> np.ndarray:
    """`count` entries of `array`, always at the same places: those that a fixture keeps (64 of a gradient)."""
    flat = np.ascontiguousarray(array.detach().numpy() if isinstance(array, torch.Tensor) else array).reshape(-1)
    return flat[np.random.default_rng(flat.size).integers(0, flat.size, count)]


def reference(name: str) -> dict[str, np.ndarray]:
    """The arrays of the fixture `dense`, `dense64` or `classification`."""
    with np.load(DATA / f'{name}.npz') as file:
        return {key: file[key] for key in file.files}
