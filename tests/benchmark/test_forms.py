"""Names of contestants, what is published for them, and which network they stand for."""

import re

import pytest
import torch
from torch import nn

from mmiformer.benchmark.complexity import count
from mmiformer.benchmark.forms import FORMS, combine, converted, parse, require
from mmiformer.benchmark.peers import PEERS, fold_batch_norms
from mmiformer.benchmark.run import Workload, largest_difference, prepare
from mmiformer.errors import UserError
from mmiformer.models import IFormer
from mmiformer.stack import CPU_AUTOCAST

from ..export.here import needs
from ..helpers import randomize, relative_error
from ..left_out import needs_extra


def workload(train: bool = False) -> Workload:
    return Workload(64, 96, train=train)


def test_names():
    contestant = parse('l2:deploy-bf16')
    assert contestant.network == 'l2' and contestant.form is FORMS['deploy-bf16'] and contestant.is_ours
    assert contestant.label == 'iFormer-L2 deploy-bf16'
    peer = parse('repvit_m1_1:compile')
    assert peer.label == 'RepViT-M1.1 compile' and not peer.is_ours
    assert parse('m').form is FORMS['plain'] and parse('m').label == 'iFormer-M'


@pytest.mark.parametrize(
    ('name', 'train', 'message'),
    [
        ('x', False, "x: 'x' is none of the networks t, s, m, l, l2, h, efficientnet_b0, resnet18"),
        (
            'm:deplyo',
            False,
            'm:deplyo: with --what infer, m has the forms plain, reference, reference-unchunked, deploy',
        ),
        ('m:folded', False, "not 'folded'"),
        ('resnet18:deploy', False, 'resnet18 has the forms plain, folded, nhwc, compile, bf16, autocast-bf16'),
        ('m:deploy', True, 'with --what train, m has the forms plain, reference, reference-unchunked, global, with_cp'),
        ('m:with_cp', False, "not 'with_cp'"),
    ],
)
def test_wrong_names(name, train, message):
    with pytest.raises(UserError, match=re.escape(message)):
        parse(name, train)


@pytest.mark.parametrize(
    ('network', 'train', 'number'), [('t', False, 10), ('t', True, 8), ('resnet18', False, 6), ('resnet18', True, 5)]
)
def test_every_form_is_the_same_network(network, train, number):
    if network != 't':
        needs_extra('peers')
    family, step = 'iformer' if network == 't' else 'timm', 'train' if train else 'infer'
    ran = 0
    for name, form in FORMS.items():
        # Compiling takes a minute.
        if step not in form.steps or family not in form.networks or form.runtime or 'compile' in name:
            continue
        contestant = parse(f'{network}:{name}', train)
        ran += 1
        if name == 'autocast-fp16' and form.dtype not in CPU_AUTOCAST:
            with pytest.raises(UserError, match='has no autocast for it'):
                require([contestant], torch.device('cpu'))
            continue
        entry = prepare(contestant, workload(train))
        assert entry.dtype == (form.dtype or torch.float32), name
        bound = 1e-5 if entry.dtype == torch.float32 else 0.1
        assert entry.difference < bound and (entry.dtype == torch.float32 or entry.difference > 1e-4), name
        entry.step()
    assert ran == number


@pytest.mark.parametrize('name', ['t:deploy-compile', 'resnet18:compile'])
def test_compiled_forms_are_run_compiled(name, monkeypatch):
    if name == 'resnet18:compile':
        needs_extra('peers')
    compiled = []

    def pretend(run, **options):
        compiled.append(options)
        return run

    monkeypatch.setattr(torch, 'compile', pretend)
    entry = prepare(parse(name), workload())
    assert entry.difference < 1e-5
    assert compiled == [dict(dynamic=False, fullgraph=True, options={'triton.cudagraphs': False})]


@pytest.mark.parametrize(('name', 'bound'), [('resnet18:onnx', 1e-5), ('t:openvino', 1e-5), ('t:openvino-int8', 0.3)])
def test_other_runtimes_compute_the_same_network(name, bound):
    needs_extra('exports')
    contestant = parse(name)
    require([contestant], torch.device('cpu'))
    entry = prepare(contestant, workload())
    assert entry.difference < bound
    assert (entry.dtype == torch.int8) == (entry.difference > 1e-4)
    assert entry.macs == prepare(parse(name.split(':')[0]), workload()).macs
    with pytest.raises(UserError, match='on the CPU alone'):
        require([contestant], torch.device('cuda'))


@needs('executorch')
@torch.no_grad()
def test_a_norm_of_its_own_goes_through_executorch():
    """As FastViT has one. ExecuTorch does not find its weights if their names begin with a number."""
    needs_extra('exports')

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), randomize(nn.BatchNorm2d(3))

        def forward(self, x):
            return (self.norm(x + self.conv(x).relu()),)

    network, image = Residual().eval(), torch.randn(1, 3, 32, 32)
    run, x = converted(network, image, torch.float32, 'executorch', 'fp32')
    assert relative_error(run(x)[0], network(image)[0]) < 1e-5


def test_networks_by_forms():
    assert combine(['m', 'resnet18', 't:export'], ['plain', 'deploy', 'folded', 'openvino']) == [
        *('m', 'm:deploy', 'm:openvino', 'resnet18', 'resnet18:folded', 'resnet18:openvino', 't:export')
    ]
    assert combine(['m'], []) == ['m']
    with pytest.raises(UserError, match='resnet18 has none of the forms deploy'):
        combine(['resnet18'], ['deploy'])


def test_published_results():
    assert parse('m:deploy').published == dict(box_AP=40.8, mask_AP=37.9, mIoU=42.4)
    assert parse('t').published == parse('m:global').published == parse('mobilenetv4_conv_medium').published == {}
    assert parse('efficientnet_b0').published == dict(box_AP=31.9, mask_AP=29.4)  # printed without mIoU
    complete = [peer.published for peer in PEERS.values() if 'mIoU' in peer.published]
    assert len(complete) == 12
    for result in complete:  # as in every published result of these two tasks
        assert result['mask_AP'] < result['box_AP'] and 31 < min(result.values()) < max(result.values()) < 46


def test_chunks_are_those_of_the_reference_form():
    copies = {}
    for name in ('m:reference', 'm:reference-unchunked'):
        two_windows = Workload(512, 256)
        entry = prepare(parse(name), two_windows)
        assert entry.difference < 1e-5
        with torch.profiler.profile() as profile:
            entry.step()
        copies[name] = sum(event.count for event in profile.key_averages() if event.key == 'aten::clone')
    assert copies['m:reference'] == copies['m:reference-unchunked'] + 2 * 15  # cutting and joining, 16 chunks and one


def test_deploy_form_is_the_same_network():
    deployed = prepare(parse('t:deploy'), workload())
    assert deployed.difference < 1e-5 and len(deployed.weights) < len(prepare(parse('t'), workload()).weights) / 2


@pytest.mark.parametrize('train', [False, True])
def test_counts_are_those_of_the_network(train):
    plain, reference = (prepare(parse(name, train), workload(train)) for name in ('t', 't:reference'))
    parameters = sum(parameter.numel() for parameter in IFormer('t').parameters())
    assert reference.parameters == plain.parameters == parameters
    forward = count('', IFormer('t'), IFormer('t').eval(), torch.zeros(1, 3, 64, 96))[0].macs
    assert reference.macs == plain.macs == (3 if train else 1) * forward
    windowless = prepare(parse('t:global', train), workload(train))
    assert windowless.difference < 1e-6  # it is held against itself
    assert largest_difference(windowless.forward(), plain.forward()) > 1e-3


def test_half_precision_is_in_the_maps():
    assert {level.dtype for level in prepare(parse('t:bf16'), workload()).step()} == {torch.bfloat16}
    deployed = prepare(parse('t:deploy-bf16'), workload())
    assert {tensor.dtype for tensor in deployed.weights} == {torch.bfloat16}
    assert {level.dtype for level in deployed.step()} == {torch.float32}  # as the heads of a detector want them
    cast = prepare(parse('t:autocast-bf16'), workload())
    assert {tensor.dtype for tensor in cast.weights} >= {torch.float32}


def test_training_step_leaves_no_gradients():
    entry = prepare(parse('t', train=True), workload(train=True))
    seen = []
    parameters = [tensor for tensor in entry.weights if tensor.requires_grad]
    hooks = [p.register_hook(lambda gradient: seen.append(gradient.abs().max().item())) for p in parameters]
    entry.step()
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(parameters) > 100 and all(largest > 0 for largest in seen)
    assert all(parameter.grad is None for parameter in parameters)


def test_inference_step_keeps_no_graph():
    entry = prepare(parse('t'), workload())
    assert all(level.grad_fn is None and not level.requires_grad for level in entry.step())


class BatchNormAct(torch.nn.BatchNorm2d):
    """Batch norm with an activation in it, as timm has."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.act = torch.nn.ReLU()

    def forward(self, x):
        return self.act(super().forward(x))


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1, bias=False), BatchNormAct(8))
        self.grouped, self.norm = torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.BatchNorm2d(8)
        self.last = torch.nn.BatchNorm2d(8)  # reads no convolution
        self.residual = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 1))
        self.branch = torch.nn.Sequential(torch.nn.BatchNorm2d(8))  # reads one, but is not its only reader

    def forward(self, x):
        x = self.last(self.norm(self.grouped(self.block(x))).relu())
        x = self.residual(x)
        return x + self.branch(x)


@torch.no_grad()
def test_batch_norms_of_peers_fold():
    network, image = randomize(Network()).eval(), torch.randn(1, 3, 16, 16)
    expected = network(image)
    folded = fold_batch_norms(network, image)
    assert [name for name, m in folded.named_modules() if isinstance(m, torch.nn.BatchNorm2d)] == ['last', 'branch.0']
    assert relative_error(folded(image), expected) < 1e-6
