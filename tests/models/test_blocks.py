"""Blocks against their formulas, written out for single tokens."""

import pytest
import torch
from torch import nn

from mmiformer.models.blocks import CPE, FFN, SHMA, ConvBlock, ConvBN

from ..helpers import randomize, relative_error

BN, GELU = dict(type='BN'), dict(type='GELU')


def norms_frozen(block: nn.Module) -> nn.Module:
    """The block in training, with its batch norms in evaluation mode, as `norm_eval` has them."""
    for module in block.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return block


@pytest.mark.parametrize('modulation', ['value', 'context'])
@torch.no_grad()
def test_shma_is_the_published_formula_token_by_token(modulation):
    block = randomize(SHMA(8, 6, BN, modulation)).double().eval()
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
    randomize(block).eval()
    layers = [layer for name in ('dwconv', 'expand', 'project') if (layer := getattr(block, name, None)) is not None]
    x = torch.randn(2, 8, 9, 7)
    gamma = 1.0 if block.gamma is None else block.gamma
    assert torch.equal(block(x), x + gamma * nn.Sequential(*layers)(x))


def test_drop_path_drops_whole_samples_in_training_only():
    block = randomize(FFN(8, 2, BN, GELU, drop_path=0.5))
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
    unit = randomize(ConvBN(8, 16, kernel_size, groups=groups, norm_cfg=BN, act_cfg=GELU)).double().eval()
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
    unit = randomize(ConvBN(4, 4, 1, norm_cfg=BN)).train()
    assert not unit.folds
    y = unit(torch.randn(8, 4, 5, 5))
    torch.testing.assert_close(
        (y.mean((0, 2, 3)), y.var((0, 2, 3), False)), (unit.norm.bias, unit.norm.weight**2), rtol=1e-3, atol=1e-5
    )


def test_what_a_frozen_ffn_keeps_for_the_backward_pass():
    ffn, x = norms_frozen(FFN(8, 4, BN, GELU)), torch.randn(1, 8, 32, 32, requires_grad=True)
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
        ffn = norms_frozen(randomize(FFN(8, 4, BN, dict(type=kind, inplace=inplace))).double())
        x = torch.randn(2, 8, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        ffn(x).pow(3).sum().backward()
        gradients.append([parameter.grad for parameter in ffn.parameters()])
    assert all(relative_error(*pair) < 1e-13 for pair in zip(*gradients, strict=True))


# The module protocol: what a ConvBN does is norm(conv(x)), whoever watches or replaces a layer.


def unit_and_input() -> tuple[ConvBN, torch.Tensor]:
    unit = randomize(ConvBN(8, 16, 1, norm_cfg=BN, act_cfg=GELU)).double().eval()
    return unit, torch.randn(2, 8, 5, 7, dtype=torch.float64)


class Adapted(nn.Conv2d):
    """A convolution with a way of its own, as adapters and fake quantization have."""

    def forward(self, x):
        return super().forward(x) + 1


@pytest.mark.parametrize('kernel_size', [1, 3])
@pytest.mark.parametrize('change', ['bias', 'subclass', 'dilation', 'groups', 'parametrization', 'own forward', 'norm'])
def test_replaced_layers_are_what_counts(kernel_size, change):
    unit, x = unit_and_input()
    before = unit(x)
    options = dict(kernel_size=kernel_size, padding=kernel_size // 2, dtype=torch.float64)
    if change == 'bias':
        unit.conv = nn.Conv2d(8, 16, bias=True, **options)
    elif change == 'subclass':
        unit.conv = Adapted(8, 16, **options)
    elif change == 'dilation':
        unit.conv = nn.Conv2d(8, 16, **{**options, 'dilation': 2, 'padding': 2 * (kernel_size // 2)})
    elif change == 'groups':
        unit.conv = nn.Conv2d(8, 16, groups=4, padding_mode='reflect', **options)
    elif change == 'parametrization':
        nn.utils.parametrizations.weight_norm(unit.conv)
        unit.conv.parametrizations.weight.original0.data.mul_(2)
    elif change == 'own forward':
        other = nn.Conv2d(8, 16, **options)
        unit.conv.forward = lambda x: other(x)
    else:
        unit.norm = nn.GroupNorm(4, 16, dtype=torch.float64)
    found = unit(x)
    assert relative_error(found, unit.act(unit.norm(unit.conv(x)))) < 1e-13
    assert relative_error(found, before) > 1e-2


@pytest.mark.parametrize('mode', ['eval', 'norm_eval', 'train'])
@pytest.mark.parametrize('kind', ['forward', 'pre', 'global'])
def test_hooks_of_every_module_fire_once(mode, kind):
    block = randomize(ConvBlock(8, 2, BN, GELU))
    block = dict(eval=block.eval, norm_eval=lambda: norms_frozen(block), train=block.train)[mode]()
    leaves = [module for module in block.modules() if not list(module.children())] + [block.expand, block.project]
    seen, handles = [], []
    if kind == 'global':
        handles.append(nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module)))
    else:
        for module in leaves:
            add = module.register_forward_hook if kind == 'forward' else module.register_forward_pre_hook
            handles.append(add(lambda module, *_: seen.append(module)))
    try:
        block(torch.randn(2, 8, 6, 6, requires_grad=True)).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    assert len(leaves) == 10 and all(seen.count(module) == 1 for module in leaves)


def test_backward_hooks_and_outputs_of_hooks_count():
    unit, x = unit_and_input()
    expected, gradients = unit(x), []
    handle = unit.norm.register_forward_hook(lambda module, inputs, output: 0 * output)
    assert unit(x).abs().max() == 0
    handle.remove()
    unit.conv.register_full_backward_hook(lambda module, grad_input, grad_output: gradients.append(grad_output))
    found = unit(x.clone().requires_grad_())
    found.sum().backward()
    assert len(gradients) == 1 and relative_error(found, expected) < 1e-13
