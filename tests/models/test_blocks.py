"""Blocks against their formulas, written out for single tokens."""

import pytest
import torch
from torch import nn

from mmiformer.models.blocks import CPE, FFN, SHMA, ConvBlock, ConvBN

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


@pytest.mark.parametrize('kernel_size, groups', [(1, 1), (3, 2), (5, 8)])
def test_frozen_batch_norm_folds_with_exact_outputs_and_gradients(kernel_size, groups):
    unit = randomise(ConvBN(8, 16, kernel_size, groups=groups, norm_cfg=BN, act_cfg=GELU)).double().eval()
    plain = nn.Sequential(unit.conv, unit.norm, unit.act)
    answers = []
    for layer in (unit, plain):
        x = torch.randn(2, 8, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        y = layer(x)
        unit.zero_grad()
        y.pow(3).sum().backward()
        answers.append([y, x.grad, *(parameter.grad for parameter in unit.parameters())])
    assert len(answers[0]) == 5  # output, input, weight, scale, shift
    for folded, expected in zip(*answers, strict=True):
        assert relative_error(folded, expected) < 1e-13


def test_batch_norm_that_trains_sees_the_batch():
    unit = randomise(ConvBN(4, 4, 1, norm_cfg=BN)).train()
    assert not unit.frozen
    y = unit(torch.randn(8, 4, 5, 5))
    torch.testing.assert_close(
        (y.mean((0, 2, 3)), y.var((0, 2, 3), False)), (unit.norm.bias, unit.norm.weight**2), rtol=1e-3, atol=1e-5
    )


def test_what_a_frozen_ffn_keeps_for_the_backward_pass():
    ffn, x = FFN(8, 4, BN, GELU).eval(), torch.randn(1, 8, 32, 32, requires_grad=True)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ffn(x)
    maps = [size for size in kept.values() if size >= x.nbytes]
    assert sorted(maps) == [x.nbytes, 4 * x.nbytes]  # its input, and what goes into the activation


@pytest.mark.parametrize('kind', ['ReLU', 'SiLU'])
def test_activations_that_work_in_place_train_with_frozen_batch_norms(kind):
    gradients = []
    for inplace in (True, False):
        ffn = randomise(FFN(8, 4, BN, dict(type=kind, inplace=inplace))).double().eval()
        x = torch.randn(2, 8, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        ffn(x).pow(3).sum().backward()
        gradients.append([parameter.grad for parameter in ffn.parameters()])
    assert all(relative_error(*pair) < 1e-13 for pair in zip(*gradients, strict=True))
