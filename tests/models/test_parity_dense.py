"""The dense backbones against the released code: outputs, loss and gradients of `data/dense.npz`.

The fixture's gradients hold a fault of torch: on the CPU, in a batch of one, the backward pass of a batch norm goes
wrong where the gradient comes in another memory layout than the map, as it does behind the query of a global SHMA. So
they are compared with the benchmark's reference form, which computes what the released code does, fault and all; the
network's own gradients, which fold the norm and have no such fault, with differences of its loss.
"""

import math

import numpy as np
import pytest
import torch

from mmiformer.benchmark.reference import Reference
from mmiformer.models import IFormer
from mmiformer.models.weights import rename

from .. import parity

ARCHS, SIZES = ('m', 'l', 'l2'), ('512x512', '320x448')


def build(arch, dtype):
    """The network with the fixture's weights."""
    network = IFormer(arch, norm_eval=True).train()
    network.load_state_dict(parity.released_state_dict(f'dense_{arch}'))
    return network.to(dtype)


def loss_of(outputs):
    """The loss of the fixture, which weighs every entry of every output by a sine of its index."""
    return sum(
        (o * torch.sin(torch.arange(o.numel(), dtype=o.dtype).reshape(o.shape))).sum() / math.sqrt(o.numel())
        for o in outputs
    )


def released_gradients(arch, size, dtype):
    """By released key, the gradients of the network's reference form."""
    network = build(arch, dtype)
    loss_of(Reference(network, folded=False)(parity.image(*map(int, size.split('x'))).to(dtype))).backward()
    released = parity.released_shapes(f'dense_{arch}')
    own_keys = rename({key: key for key in released}, 'released', 'mmiformer')
    return {own_keys[key]: parameter.grad for key, parameter in network.named_parameters()}


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('arch', ARCHS)
def test_outputs_loss_and_gradients_are_the_released_ones(arch, size):
    reference = {
        key.removeprefix(f'{arch}/{size}/'): array
        for key, array in parity.reference('dense').items()
        if key.startswith(f'{arch}/{size}/')
    }
    with torch.no_grad():
        outputs = build(arch, torch.float32)(parity.image(*map(int, size.split('x'))))
    assert len(outputs) == 4
    for level, output in enumerate(outputs):
        assert tuple(output.shape) == tuple(reference[f'level{level}/shape'])
        largest = output.abs().max().item()
        assert np.abs(parity.probe(output) - reference[f'level{level}/probe']).max() < 1e-4 * largest
        moments = [output.mean().item(), output.std(correction=0).item()]
        np.testing.assert_allclose(moments, reference[f'level{level}/moments'], atol=1e-4 * largest)
    assert loss_of(outputs).item() == pytest.approx(reference['loss'].item(), rel=1e-4)

    # The softmaxes of random weights are nearly steps, which magnifies rounding on the way back, the more so the deeper
    # the network. How much it does is told by our own network in double precision.
    gradients, exact = (released_gradients(arch, size, dtype) for dtype in (torch.float32, torch.float64))
    names = [key.removeprefix('grad/') for key in reference if key.startswith('grad/')]
    largest = max(np.abs(reference[f'grad/{name}']).max() for name in names)
    names = [name for name in names if exact[name].abs().max() > 1e-3 * largest]  # elsewhere there is only rounding
    assert len(names) > 30
    error, rounding = 0.0, 0.0
    for name in names:
        scale = exact[name].abs().max().item()
        error = max(error, np.abs(parity.probe(gradients[name], 64) - reference[f'grad/{name}']).max() / scale)
        rounding = max(rounding, (gradients[name] - exact[name]).abs().max().item() / scale)
    assert error < max(5e-4, min(3 * rounding, 0.1))


@pytest.mark.parametrize('arch', ARCHS)
def test_gradients_are_the_slopes_of_the_loss(arch):
    network, image = build(arch, torch.float64), parity.image(160, 224).double()
    loss_of(network(image)).backward()
    generator = torch.Generator().manual_seed(0)
    parameters = {name: p for name, p in network.named_parameters() if name.endswith('conv.weight')}
    for chosen in ('stages.2.', '.q.', '.k.'):
        some = [p for name, p in parameters.items() if chosen in name]
        assert len(some) > 5
        steps = [1e-7 * torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in some]
        losses = []
        with torch.no_grad():
            for factor in (1, -2):
                for p, step in zip(some, steps, strict=True):
                    p.add_(step, alpha=factor)
                losses.append(loss_of(network(image)).item())
            for p, step in zip(some, steps, strict=True):
                p.add_(step)
        slope = sum((p.grad * step).sum().item() for p, step in zip(some, steps, strict=True))
        assert (losses[0] - losses[1]) / 2 == pytest.approx(slope, rel=1e-3), chosen
