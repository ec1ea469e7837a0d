"""What is measured: a network's name and words that say in which form, such as `m:deploy-bf16`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..models.arch import ARCHS
from ..published import PUBLISHED
from .timm_peers import PEERS

WORDS = {
    'reference': 'as the released code runs it, on NCHW maps (inference: batch norms and CPE folded)',
    'unchunked': 'the reference form with windows cut from all channels at once',
    'deploy': 'the form for inference',
    'global': 'attention among all tokens everywhere, no windows',
    'with_cp': 'training that keeps the inputs of the blocks alone',
    'folded': 'batch norms folded into convolutions where timm leaves them',
    'nhwc': 'weights and image channels-last in memory',
    'compile': 'through torch.compile; inference on a GPU with CUDA graphs',
    'freezing': 'compiled with the weights as constants, packed for their products',
    'autotune': 'compiled with the fastest of several kernels for each product; takes minutes',
    'aot': 'exported and compiled ahead of time by AOTInductor',
    'bf16': 'in bfloat16',
    'fp16': 'in float16',
    'autocast': 'weights in float32, bf16 or fp16 by autocast',
}
_OURS, _THEIRS = {'reference', 'unchunked', 'deploy', 'global', 'with_cp'}, {'folded'}
_FOR_INFERENCE = {'deploy', 'folded', 'freezing', 'aot'}
_FOR_TRAINING = {'with_cp'}
_EXCLUDING = (
    ('reference', 'deploy'),
    ('reference', 'with_cp'),
    ('reference', 'nhwc'),
    ('aot', 'compile'),
    ('aot', 'freezing'),
    ('aot', 'autotune'),
    ('aot', 'autocast'),
    ('bf16', 'fp16'),
)
_DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass(frozen=True)
class Contestant:
    """A network in a form.

    Attributes:
        name: As it was asked for.
        network: One of `ARCHS` or of `PEERS`.
        words: Those of `WORDS` that say in which form.
    """

    name: str
    network: str
    words: frozenset[str]

    @property
    def is_ours(self) -> bool:
        return self.network in ARCHS

    @property
    def label(self) -> str:
        """The network's name in print, and the words."""
        name = f'iFormer-{self.network.upper()}' if self.is_ours else PEERS[self.network].label
        return ' '.join([name, *(word for word in WORDS if word in self.words)])

    @property
    def half(self) -> torch.dtype | None:
        """The dtype that a word names."""
        return next((dtype for word, dtype in _DTYPES.items() if word in self.words), None)

    @property
    def published(self) -> dict[str, float]:
        """{'box_AP', 'mask_AP', 'mIoU'} that are published for the network, as far as they are."""
        if not self.is_ours:
            return PEERS[self.network].result
        if 'global' in self.words:
            return {}
        files = [file for file in PUBLISHED.values() if file.arch == self.network and file.task in ('coco', 'ade20k')]
        return {metric: value for file in files for metric, value in file.result.items()}


def parse(name: str, train: bool = False) -> Contestant:
    """Read a contestant's name, `NETWORK` or `NETWORK:WORD-WORD...`.

    Args:
        name: The name.
        train: Whether training is to be measured.

    Raises:
        ValueError: The network or a word is unknown, or the words do not go together.
    """
    network, colon, rest = name.partition(':')
    if network not in ARCHS and network not in PEERS:
        raise ValueError(f'{name}: {network!r} is none of the networks {", ".join([*ARCHS, *PEERS])}')
    words = rest.split('-') if colon else []
    allowed = [word for word in WORDS if word not in (_THEIRS if network in ARCHS else _OURS)]
    for word in words:
        if word not in allowed:
            raise ValueError(f'{name}: {word!r} is none of the forms of {network}: {", ".join(allowed)}')
        if train and word in _FOR_INFERENCE:
            raise ValueError(f'{name}: {word!r} is a form for inference; training has no such form')
        if not train and word in _FOR_TRAINING:
            raise ValueError(f'{name}: {word!r} is a form for training; say --what train')
    for one, other in _EXCLUDING:
        if one in words and other in words:
            raise ValueError(f'{name}: {one} and {other} exclude each other')
    if 'unchunked' in words and 'reference' not in words:
        raise ValueError(f'{name}: only the reference form has chunks; say {network}:reference-unchunked')
    if 'compile' not in words and (missing := {'freezing', 'autotune'} & set(words)):
        raise ValueError(f'{name}: {min(missing)} is a way to compile; say {network}:{rest}-compile')
    if 'autocast' in words and not {'bf16', 'fp16'} & set(words):
        raise ValueError(f'{name}: autocast to what? Say {name}-bf16 or {name}-fp16')
    return Contestant(name, network, frozenset(words))
