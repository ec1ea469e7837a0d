"""The deploy form against the network it is made from."""

import copy

import pytest
import torch
from torch import nn

from mmiformer.models import IFormer, cpu
from mmiformer.models.blocks import ConvBlock
from mmiformer.models.deploy import switch_to_deploy

from ..helpers import TINY, randomize, relative_error


def pair(dtype=torch.float64, **kwargs) -> tuple[IFormer, IFormer]:
    """A network, and the same one in its deploy form."""
    network = randomize(IFormer(TINY, window_size=4, **kwargs)).to(dtype).eval()
    deployed = copy.deepcopy(network)
    deployed.switch_to_deploy()
    return network, deployed


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(),
        dict(modulation='context', window_layout='paper'),
        dict(layer_scale_init_value=0.3, act_cfg=dict(type='ReLU'), frozen_stages=2),
        dict(out_indices=(0, 2)),
    ],
)
@torch.no_grad()
def test_outputs_are_exactly_those_of_the_network(kwargs):
    network, deployed = pair(**kwargs)
    x = torch.randn(2, 3, 150, 90, dtype=torch.float64)
    outputs = deployed(x)
    assert len(outputs) == len(network.out_indices)
    for output, expected in zip(outputs, network(x), strict=True):
        assert output.shape == expected.shape and relative_error(output, expected) < 1e-12


@pytest.mark.parametrize('dtype, bound', [(torch.float32, 1e-5), (torch.bfloat16, 0.1)])
@torch.no_grad()
def test_fused_layers_of_this_torch(dtype, bound, monkeypatch):
    """Where torch has the fused layers, they are used, and are what the plain ones are."""
    network, deployed = pair(torch.float32)
    deployed, x = deployed.to(dtype), torch.randn(2, 3, 150, 90)
    with torch.profiler.profile() as profile:
        outputs = deployed(x.to(dtype))
    names = {event.key for event in profile.key_averages()}
    assert ('mkldnn::_linear_pointwise' in names) == cpu._work(dtype)
    assert cpu._work(dtype) == hasattr(torch.ops.mkldnn, '_linear_pointwise')
    monkeypatch.setattr(cpu, '_work', lambda dtype: False)
    for output, plain, expected in zip(outputs, deployed(x.to(dtype)), network(x), strict=True):
        assert relative_error(output, expected) < bound and relative_error(plain, expected) < bound


@pytest.mark.parametrize('channels', [3, 24])
@torch.no_grad()
def test_convolutions_with_gelu(channels):
    conv, x = nn.Conv2d(channels, 8, 5, stride=2, padding=2), torch.randn(2, channels, 33, 46)
    found = cpu.act_of_conv(x.contiguous(memory_format=torch.channels_last), conv, nn.GELU())
    assert relative_error(found, nn.functional.gelu(copy.deepcopy(conv).double()(x.double()))) < 1e-5
    assert found.shape == (2, 8, 17, 23) and found.is_contiguous(memory_format=torch.channels_last)


class Derived(nn.Linear):
    """A linear layer with ways of its own, such as an adapter or a quantized one."""

    def forward(self, x):
        self.seen.append(self)
        return super().forward(x)


@torch.no_grad()
def test_layers_that_were_replaced_or_watched_are_called():
    _, deployed = pair(torch.float32)
    x, seen = torch.randn(1, 3, 64, 64), []
    layers = [module for module in deployed.modules() if isinstance(module, nn.Linear)]
    for layer in layers[::2]:
        layer.register_forward_hook(lambda layer, *_: seen.append(layer))
    for layer in layers[1::2]:
        layer.__class__ = Derived
        layer.seen = seen
    deployed(x)
    assert seen == layers


@torch.no_grad()
def test_tangents_go_through():
    network, deployed = pair(torch.float32)
    x, tangent = torch.randn(2, 1, 3, 64, 64).unbind()
    for _ in range(2):
        found, expected = (
            torch.func.jvp(lambda x, form=form: form(x)[-1], (x,), (tangent,)) for form in (deployed, network)
        )
        assert relative_error(found[1], expected[1]) < 1e-2


def test_defaults_at_the_first_call_do_not_matter():
    answers = set()
    for dtype, device in ((torch.float32, 'cpu'), (torch.float64, 'cpu'), (torch.float32, 'meta')):
        before = torch.get_default_dtype()
        try:
            torch.set_default_dtype(dtype)
            with torch.device(device):
                answers.add((cpu._work.__wrapped__(torch.float32), cpu._packs.__wrapped__()))
        finally:
            torch.set_default_dtype(before)
    assert len(answers) == 1


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason='this torch has no MKL')
@torch.no_grad()
def test_packed_weights(monkeypatch):
    """From the second image of a size on, small products have packed weights; other sizes in between do no harm."""
    monkeypatch.setattr(cpu, '_packs', lambda: True)
    network, deployed = pair(torch.float32)
    for height, width in ((150, 90), (150, 90), (64, 64), (150, 90), (150, 90)):
        x = torch.randn(2, 3, height, width)
        with torch.profiler.profile() as profile:
            outputs = deployed(x)
        for output, expected in zip(outputs, network(x), strict=True):
            assert relative_error(output, expected) < 1e-5
    assert 'mkl::_mkl_linear' in {event.key for event in profile.key_averages()}


@torch.no_grad()
def test_bfloat16_inside_and_the_data_type_of_the_image_outside():
    network, deployed = pair(torch.float32)
    assert switch_to_deploy(nn.ModuleDict(dict(backbone=deployed)), torch.bfloat16) == 1
    assert {parameter.dtype for parameter in deployed.parameters()} == {torch.bfloat16}
    x = torch.randn(2, 3, 150, 90)
    for output, expected in zip(deployed(x), network(x), strict=True):
        assert output.dtype == torch.float32 and output.is_contiguous()
        assert 0 < relative_error(output, expected) < 0.1


def test_the_processor_is_asked_for_bf16(monkeypatch):
    for flags, known in (('fpu avx512_bf16 sse', True), ('fp asimd bf16', True), ('fpu avx512f bf160', False)):
        monkeypatch.setattr(cpu, '_cpuinfo', lambda flags=flags: frozenset(flags.split()))
        assert cpu.has_bf16() == known


def test_input_keeps_its_gradient():
    network, deployed = pair()
    gradients = []
    for form in (network, deployed):
        x = torch.randn(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        form(x)[-1].square().sum().backward()
        gradients.append(x.grad)
    assert relative_error(*gradients) < 1e-10


def test_state_dict_is_loaded_by_the_deploy_form_alone():
    network, deployed = pair(torch.float32)
    again = IFormer(TINY, window_size=4, deploy=True)
    again.load_state_dict(deployed.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(again(x), deployed(x), strict=True))
    with pytest.raises(ValueError, match='built? .*without deploy=True.*switch_to_deploy'):
        again.load_state_dict(network.state_dict())
    with pytest.raises(ValueError, match='deploy=True'):
        network.load_state_dict(deployed.state_dict())
    with pytest.raises(ValueError, match='of another shape'):
        IFormer(dict(TINY, ffn_ratio=3), deploy=True).load_state_dict(deployed.state_dict())


def test_it_has_no_norms_and_nothing_to_train():
    _, deployed = pair()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in deployed.modules())
    assert not any(parameter.requires_grad for parameter in deployed.parameters())
    assert not deployed.eval().training
    with pytest.raises(RuntimeError, match='inference only'):
        deployed.train()
    before = deployed.state_dict().keys()
    deployed.switch_to_deploy()
    assert deployed.state_dict().keys() == before


def test_norms_that_cannot_be_folded_are_named_and_nothing_is_changed():
    network = IFormer(TINY, norm_cfg=dict(type='GN', num_groups=4))
    keys = network.state_dict().keys()
    with pytest.raises(ValueError, match=r'stem\.0 cannot be folded.*stem\.0\.norm is GroupNorm'):
        network.switch_to_deploy()
    assert network.state_dict().keys() == keys and not network.deploy


@pytest.mark.parametrize('change', ['replaced', 'hook'])
def test_layers_that_would_be_lost_are_named_and_nothing_is_changed(change):
    network = IFormer(TINY)
    unit = network.stages[2].blocks[1].expand
    if change == 'replaced':
        unit.conv = nn.Sequential(unit.conv)
    else:
        unit.norm.register_forward_hook(lambda *_: None)
    keys = network.state_dict().keys()
    with pytest.raises(ValueError, match=r'stages\.2\.blocks\.1\.expand cannot be folded'):
        network.switch_to_deploy()
    assert network.state_dict().keys() == keys and not network.deploy


def test_a_bias_is_folded_too():
    network = randomize(IFormer(TINY, window_size=4)).double().eval()
    unit = network.stages[2].blocks[1].expand
    unit.conv.bias = nn.Parameter(torch.randn(48, dtype=torch.float64))
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected = network(x)
    network.switch_to_deploy()
    assert all(relative_error(output, level) < 1e-12 for output, level in zip(network(x), expected, strict=True))


def test_blocks_of_another_kind_are_named_and_nothing_is_changed():
    class Mine(ConvBlock):
        pass

    network = IFormer(TINY)
    network.stages[2].blocks[1] = Mine(24, 2, dict(type='BN'), dict(type='GELU'))
    keys = network.state_dict().keys()
    with pytest.raises(ValueError, match=r'stages\.2\.blocks\.1 is a Mine'):
        network.switch_to_deploy()
    assert network.state_dict().keys() == keys and not network.deploy


def test_backbones_are_found_inside_a_model():
    model = nn.ModuleDict(dict(backbone=IFormer(TINY), head=nn.Linear(2, 2)))
    assert switch_to_deploy(model) == 1 and model['backbone'].deploy
    assert switch_to_deploy(model['head']) == 0
