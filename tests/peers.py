"""Weights and reference outputs of the baselines' dense networks, made without a weight file.

`data/peer_keys.json.gz` has the keys and shapes of the authors' backbones, to which NumPy gives values as in `parity`;
`data/peers.npz` what their own code computed with these in double precision, in evaluation mode: 64 entries of each
level, `{name}/{height}x{width}/level{i}/probe`, and its `shape`.
"""

from __future__ import annotations

import functools
import gzip
import json
import zlib

import numpy as np
import torch

from . import parity


@functools.cache
def shapes(name: str) -> dict[str, list[int]]:
    """{authors' key: shape} of a backbone; of EfficientFormers those that are built for detection."""
    with gzip.open(parity.DATA / 'peer_keys.json.gz', 'rt') as file:
        return json.load(file)[name]


def array(key: str, shape: list[int]) -> np.ndarray:
    """The array that stands for a parameter or buffer of the authors; layer scales are large enough to matter."""
    if 'layer_scale' in key or '.gamma' in key:
        noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
        return (0.3 + 0.1 * noise).astype(np.float32)
    return np.asarray(parity.array(key, tuple(shape)))


@functools.lru_cache(maxsize=3)
def state_dict(name: str, segmentation: bool = False) -> dict[str, torch.Tensor]:
    """The deterministic weights of a backbone under the authors' keys; not to be changed.

    Args:
        name: Its name in `data/peer_keys.json.gz`.
        segmentation: Whether biases are for the grid of 512 x 512 instead of 800 x 800.
    """
    smaller = {25**2: 16**2, 50**2: 32**2} if segmentation else {}
    table = {
        key: [smaller.get(side, side) for side in shape] if key.endswith('_seg') else shape
        for key, shape in shapes(name).items()
    }
    return {key: torch.from_numpy(array(key, shape)) for key, shape in table.items()}


@functools.cache
def references() -> dict[str, np.ndarray]:
    return parity.reference('peers')
