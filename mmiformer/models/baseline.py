"""What the backbones of other papers share: published weights load strictly, whichever way they are loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

from torch import Tensor

from ..errors import UserError
from . import loading

Arch = TypeVar('Arch')

# Keys of the MetaFormers' code, from which that of other papers comes: stages and the steps between them in one list.
METAFORMER_KEYS = (
    *((rf'^network\.{2 * stage}\.', f'stages.{stage}.blocks.') for stage in range(4)),
    *((rf'^network\.{2 * stage - 1}\.', f'stages.{stage}.downsample.') for stage in range(1, 4)),
    *((rf'^norm{2 * stage}\.', f'output_norms.{stage}.') for stage in range(4)),
)


class Baseline(loading.PretrainedModule):
    """A backbone of another paper.

    All ways of loading, the Runner's too, end in `_load_from_state_dict`. There published keys become the module's, and
    a misfit is an error even where the caller loads non-strictly.
    """

    def own_weights(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a file under this module's keys, without classifier heads.

        Args:
            published: {key: tensor}, in the module's own layout or a published one, without a prefix.
        """
        raise NotImplementedError

    @staticmethod
    def backbone_of(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A backbone's part of a whole file, without its prefix."""
        return loading.under(state_dict, 'backbone.') or state_dict

    def _load_from_state_dict(self, state_dict, prefix, *args):
        weights = self.own_weights(loading.under(state_dict, prefix))
        if not any(key.startswith('output_norms.') for key in weights):  # classifiers have none: they start fresh
            weights |= {key: tensor for key, tensor in self.state_dict().items() if key.startswith('output_norms.')}
        if wrong := loading.faults(self, weights):
            raise UserError(f'The weights do not fit this {type(self).__name__}; by its own keys, {wrong}')
        loading.replace(self, state_dict, prefix, weights)
        super()._load_from_state_dict(state_dict, prefix, *args)


def rename(state_dict: Mapping[str, Tensor], patterns: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """The same tensors under keys in which every pattern, one after the other, has been replaced."""
    renamed = {}
    for key, tensor in state_dict.items():
        for pattern, replacement in patterns:
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    return renamed


def choose(arch: str, archs: Mapping[str, Arch]) -> Arch:
    """The variant of a name.

    Raises:
        ValueError: There is none.
    """
    if arch not in archs:
        raise ValueError(f'arch={arch!r} must be one of {", ".join(archs)}')
    return archs[arch]


def feature_info(channels: tuple[int, ...]) -> list[dict[str, int]]:
    """Channels and strides of four stages."""
    return [dict(channels=width, stride=4 * 2**stage) for stage, width in enumerate(channels)]


def rising(drop_path_rate: float, blocks: int) -> Iterator[float]:
    """The drop path rates of the blocks, rising linearly from 0."""
    return (drop_path_rate * block / max(blocks - 1, 1) for block in range(blocks))
