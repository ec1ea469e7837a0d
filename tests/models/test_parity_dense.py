"""The dense backbones against the released code: outputs and loss in float32, gradients too in double precision."""

import math

import numpy as np
import pytest
import torch

from mmiformer.models import IFormer
from mmiformer.models.layouts import rename

from .. import parity

ARCHS = ('m', 'l', 'l2')


def build(arch, dtype):
    """The network with the fixtures' weights, in training with frozen statistics."""
    network = IFormer(arch, norm_eval=True).train()
    network.load_state_dict(parity.released(f'dense_{arch}'))
    return network.to(dtype)


def loss_of(outputs):
    """The loss of the fixtures, which weighs every entry of every output by a sine of its index."""
    return sum(
        (o * torch.sin(torch.arange(o.numel(), dtype=o.dtype).reshape(o.shape))).sum() / math.sqrt(o.numel())
        for o in outputs
    )


def fixture(name, case):
    arrays = {
        key.removeprefix(f'{case}/'): array for key, array in parity.reference(name).items() if key.startswith(case)
    }
    assert arrays
    return arrays


@pytest.mark.parametrize('arch', ARCHS)
@torch.no_grad()
def test_outputs_are_the_released_ones_in_float32(arch):
    expected = fixture('dense', f'{arch}/512x512')
    outputs = build(arch, torch.float32)(parity.image(512, 512))
    assert len(outputs) == 4
    for level, output in enumerate(outputs):
        assert tuple(output.shape) == tuple(expected[f'level{level}/shape'])
        largest = output.abs().max().item()
        assert np.abs(parity.probe(output) - expected[f'level{level}/probe']).max() < 1e-4 * largest
        moments = [output.mean().item(), output.std(correction=0).item()]
        np.testing.assert_allclose(moments, expected[f'level{level}/moments'], atol=1e-4 * largest)
    assert loss_of(outputs).item() == pytest.approx(expected['loss'].item(), rel=1e-4)


@pytest.mark.parametrize('arch', ARCHS)
def test_outputs_loss_and_gradients_are_the_released_ones_in_double_precision(arch):
    """With padding, and a batch of two: torch's batch norm is wrong on the way back for a batch of one on the CPU."""
    expected = fixture('dense64', f'{arch}/320x448x2')
    network = build(arch, torch.float64)
    outputs = network(parity.image(320, 448, 2).double())
    for level, output in enumerate(outputs):
        assert tuple(output.shape) == tuple(expected[f'level{level}/shape'])
        error = np.abs(parity.probe(output) - expected[f'level{level}/probe']).max()
        assert error < 1e-12 * output.abs().max().item()
    loss = loss_of(outputs)
    assert loss.item() == pytest.approx(expected['loss'].item(), rel=1e-12)

    loss.backward()
    names = [key.removeprefix('grad/') for key in expected if key.startswith('grad/')]
    ours = rename({name: name for name in names}, 'released', 'mmiformer')
    gradients = {ours[key]: parameter.grad for key, parameter in network.named_parameters() if key in ours}
    assert len(gradients) == len(names) > 20
    for name in names:
        error = np.abs(parity.probe(gradients[name], 64) - expected[f'grad/{name}']).max()
        # Some vanish, since the softmaxes of random weights are nearly steps.
        assert error < 1e-8 * max(expected[f'gradmax/{name}'], 1e-100), name
