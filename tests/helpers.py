"""What several tests share."""

from __future__ import annotations

import torch

# A network of one's own, small enough for thorough tests: every kind of block, wherever the variants have it.
TINY = dict(
    stem_channels=4,
    channels=(8, 16, 24, 32),
    conv_blocks=(1, 1, 2, 0),
    triples=(0, 0, 3, 2),
    last_conv_blocks=(0, 0, 1, 0),
    head_dims=(0, 0, 12, 8),
    conv_ratio=2,
    ffn_ratio=2,
)
SHALLOW = dict(TINY, conv_blocks=(1, 0, 1, 0), triples=(0, 0, 2, 1), last_conv_blocks=(0, 0, 0, 0))  # quick to compile


def randomize(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give every parameter and statistic a value that matters, so that nothing is hidden by a 0 or a 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() == 4:
                tensor.copy_(noise * tensor[0].numel() ** -0.5)
            else:  # batch norms
                tensor.copy_(0.1 * noise if name.endswith(('bias', 'running_mean')) else 1 + 0.2 * noise.abs())
    return network


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference over the largest magnitude of `expected`."""
    return ((actual.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def differences(first: object, second: object, where: str = '') -> list[str]:
    """Where two nested structures of tensors and values differ."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [where]
    if isinstance(first, dict):
        if first.keys() != second.keys():
            return [f'{where}: keys']
        return [line for key in first for line in differences(first[key], second[key], f'{where}.{key}')]
    if isinstance(first, (list, tuple)):
        if len(first) != len(second):
            return [f'{where}: length']
        return [line for k in range(len(first)) for line in differences(first[k], second[k], f'{where}.{k}')]
    return [] if first == second else [where]
