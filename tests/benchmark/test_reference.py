"""The reference form is the same network: same maps, and in training the same gradients."""

import pytest
import torch

from mmiformer.benchmark.reference import Reference
from mmiformer.benchmark.run import randomize_norms
from mmiformer.models import IFormer
from mmiformer.models.blocks import Residual

from ..helpers import TINY, relative_error

# in double precision, where equal is equal
IMAGE = torch.randn(2, 3, 80, 112, generator=torch.Generator().manual_seed(1)).double()


def network(arch='m', **options) -> IFormer:
    torch.manual_seed(0)
    return randomize_norms(IFormer(arch, norm_eval=True, **options)).double()


@pytest.mark.parametrize('folded', [True, False])
@pytest.mark.parametrize(
    'options',
    [
        dict(window_size=4),  # stage 3 of 5 x 7 is padded to 8 x 8
        dict(window_size=4, window_layout='paper', num_chunks=5),
        dict(window_size=None, modulation='context'),
        dict(arch=TINY, window_size=2, layer_scale_init_value=0.5, out_indices=(1, 2)),
    ],
    ids=['windows', 'paper', 'global', 'layer scale'],
)
@torch.no_grad()
def test_same_maps(options, folded):
    plain = network(**options).eval()
    expected = plain(IMAGE)
    maps = Reference(plain, folded)(IMAGE)
    assert len(maps) == len(expected) == len(options.get('out_indices', range(4)))
    for level, other in zip(maps, expected, strict=True):
        assert level.shape == other.shape
        assert relative_error(level, other) < 1e-12
    # folding left the network itself alone
    assert all(torch.equal(level, other) for level, other in zip(plain(IMAGE), expected, strict=True))


def test_folded_has_no_batch_norm_and_no_sum_in_the_position_encoding():
    plain = network().eval()
    folded = Reference(plain, folded=True)
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    residuals = [module for module in folded.modules() if type(module).__name__ == '_Residual']
    triples = sum(plain.arch.triples)
    assert len(residuals) == sum(isinstance(module, Residual) for module in plain.modules()) - triples > 0


def test_same_gradients():
    plain = network(window_size=4).train()
    reference = Reference(plain, folded=False)
    assert {id(parameter) for parameter in reference.parameters()} == {
        id(parameter) for parameter in plain.parameters()
    }
    statistics = {name: tensor.clone() for name, tensor in plain.named_buffers()}

    def gradients(module) -> dict[str, torch.Tensor]:
        plain.zero_grad()
        sum(level.square().mean() for level in module(IMAGE)).backward()
        return {name: parameter.grad for name, parameter in plain.named_parameters()}

    expected, found = gradients(plain), gradients(reference.train())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-14)  # some are 0 but for rounding
        assert gradient.abs().max() > 0, name
    assert all(torch.equal(tensor, statistics[name]) for name, tensor in plain.named_buffers())
