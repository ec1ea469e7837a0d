"""The dense backbones against the released code: outputs, loss and gradients of `data/dense.npz`."""

import math

import numpy as np
import pytest
import torch

from mmiformer.models import IFormer
from mmiformer.models.weights import rename

from .. import parity

ARCHS, SIZES = ('m', 'l', 'l2'), ('512x512', '320x448')


def run(arch, size, dtype):
    """Outputs, loss, and the gradients by released key, of the network with the fixture's weights."""
    released = parity.released_state_dict(f'dense_{arch}')
    network = IFormer(arch, norm_eval=True).train()
    network.load_state_dict(released)
    network.to(dtype)
    outputs = network(parity.image(*map(int, size.split('x'))).to(dtype))
    # The loss of the fixture weighs every entry of every output by a sine of its index.
    loss = sum(
        (o * torch.sin(torch.arange(o.numel(), dtype=dtype).reshape(o.shape))).sum() / math.sqrt(o.numel())
        for o in outputs
    )
    loss.backward()
    own_keys = rename({key: key for key in released}, 'released', 'mmiformer')
    gradients = {own_keys[key]: parameter.grad for key, parameter in network.named_parameters()}
    return outputs, loss.item(), gradients


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('arch', ARCHS)
def test_outputs_loss_and_gradients_are_the_released_ones(arch, size):
    reference = {
        key.removeprefix(f'{arch}/{size}/'): array
        for key, array in parity.reference('dense').items()
        if key.startswith(f'{arch}/{size}/')
    }
    outputs, loss, gradients = run(arch, size, torch.float32)
    assert len(outputs) == 4
    for level, output in enumerate(outputs):
        assert tuple(output.shape) == tuple(reference[f'level{level}/shape'])
        largest = output.abs().max().item()
        assert np.abs(parity.probe(output) - reference[f'level{level}/probe']).max() < 1e-4 * largest
        moments = [output.mean().item(), output.std(correction=0).item()]
        np.testing.assert_allclose(moments, reference[f'level{level}/moments'], atol=1e-4 * largest)
    assert loss == pytest.approx(reference['loss'].item(), rel=1e-4)

    # The softmaxes of random weights are nearly steps, which magnifies rounding on the way back, the more so the deeper
    # the network. How much it does is told by our own network in double precision.
    _, _, exact = run(arch, size, torch.float64)
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
