"""Blocks against their formulas, written out for single tokens."""

import pytest
import torch
from torch import nn

from mmiformer.models.blocks import CPE, FFN, SHMA, ConvBlock

from ..helpers import randomise, relative_error

BN, GELU = dict(type='BN'), dict(type='GELU')


@pytest.mark.parametrize('modulation', ['value', 'context'])
@torch.no_grad()
def test_shma_is_the_published_formula_token_by_token(modulation):
    block = randomise(SHMA(8, 6, BN, modulation)).double().eval()
    x = torch.randn(2, 8, 3, 4, dtype=torch.float64)
    q, k, (v, gate) = block.q(x), block.k(x), block.v_gate(x).split(8, dim=1)
    context = torch.zeros_like(x)
    for image in range(2):
        for i in range(12):
            logits = [(q[image].reshape(6, 12)[:, i] @ k[image].reshape(6, 12)[:, j]) / 6**0.5 for j in range(12)]
            weights = torch.stack(logits).softmax(0)
            values = v[image].reshape(8, 12)
            values = values.sigmoid() if modulation == 'value' else values
            context[image].reshape(8, 12)[:, i] = values @ weights
    if modulation == 'context':
        context = context.sigmoid()  # equation 3
    expected = x + block.project(gate.sigmoid() * context)
    assert relative_error(block(x), expected) < 1e-12


@pytest.mark.parametrize(
    'block', [ConvBlock(8, 3, BN, GELU, layer_scale=0.3), FFN(8, 2, BN, GELU, layer_scale=0.3), CPE(8, BN)]
)
def test_blocks_are_residual(block):
    randomise(block).eval()
    layers = [layer for name in ('dwconv', 'expand', 'project') if (layer := getattr(block, name, None)) is not None]
    x = torch.randn(2, 8, 9, 7)
    gamma = 1.0 if block.gamma is None else block.gamma
    assert torch.equal(block(x), x + gamma * nn.Sequential(*layers)(x))


def test_drop_path_drops_whole_samples_in_training_only():
    block = randomise(FFN(8, 2, BN, GELU, drop_path=0.5))
    x = torch.randn(64, 8, 2, 2)
    block.eval()
    kept = block(x) - x
    block.drop_path.train()
    torch.manual_seed(0)
    ratio = (block(x) - x).flatten(1).norm(dim=1) / kept.flatten(1).norm(dim=1)
    dropped = ratio < 1e-6
    assert 10 < dropped.sum() < 54
    torch.testing.assert_close(ratio[~dropped], torch.full_like(ratio[~dropped], 2.0), rtol=1e-4, atol=0)
