"""Names of contestants, what is published for them, and which network they stand for."""

import re

import pytest
import torch

from mmiformer.benchmark.contestants import WORDS, parse
from mmiformer.benchmark.forms import Workload, largest_difference, prepare
from mmiformer.benchmark.timm_peers import PEERS, fold_batch_norms
from mmiformer.models import IFormer

from ..helpers import randomise, relative_error


def workload(train: bool = False) -> Workload:
    return Workload(64, 96, 1, train, torch.device('cpu'), torch.float32)


def test_names():
    contestant = parse('l2:deploy-bf16')
    assert (contestant.network, contestant.words) == ('l2', {'deploy', 'bf16'})
    assert contestant.label == 'iFormer-L2 deploy bf16' and contestant.half == torch.bfloat16 and contestant.is_ours
    peer = parse('repvit_m1_1:compile')
    assert peer.label == 'RepViT-M1.1 compile' and peer.half is None and not peer.is_ours
    for word in WORDS:
        others = dict(autocast='-bf16', unchunked='-reference', freezing='-compile', autotune='-compile').get(word, '')
        assert parse(f'{"resnet18" if word == "folded" else "m"}:{word}{others}', train=word == 'with_cp')


@pytest.mark.parametrize(
    ('name', 'train', 'message'),
    [
        ('x', False, "x: 'x' is none of the networks t, s, m, l, l2, h, efficientnet_b0, resnet18"),
        ('m:deplyo', False, "'deplyo' is none of the forms of m: reference, unchunked, deploy, global, with_cp, nhwc"),
        ('m:', False, "'' is none of the forms"),
        ('m:folded', False, "'folded' is none of the forms of m"),
        ('resnet18:deploy', False, "'deploy' is none of the forms of resnet18: folded, nhwc"),
        ('m:deploy', True, "'deploy' is a form for inference"),
        ('m:with_cp', False, "'with_cp' is a form for training; say --what train"),
        ('m:reference-with_cp', True, 'reference and with_cp exclude each other'),
        ('m:deploy-reference', False, 'reference and deploy exclude each other'),
        ('m:unchunked', False, 'say m:reference-unchunked'),
        ('m:deploy-freezing', False, 'say m:deploy-freezing-compile'),
        ('m:compile-freezing', True, "'freezing' is a form for inference"),
        ('m:compile-aot', False, 'aot and compile exclude each other'),
        ('m:aot-freezing', False, 'aot and freezing exclude each other'),
        ('m:aot-autocast-bf16', False, 'aot and autocast exclude each other'),
        ('m:autocast', False, 'Say m:autocast-bf16'),
    ],
)
def test_wrong_names(name, train, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(name, train)


def test_published_results():
    assert parse('m:deploy').published == dict(box_AP=40.8, mask_AP=37.9, mIoU=42.4)
    assert parse('t').published == parse('m:global').published == parse('mobilenetv4_conv_medium').published == {}
    assert parse('efficientnet_b0').published == dict(box_AP=31.9, mask_AP=29.4)  # printed without mIoU
    complete = [peer.result for peer in PEERS.values() if 'mIoU' in peer.result]
    assert len(complete) == 12
    for result in complete:  # as in every published result of these two tasks
        assert result['mask_AP'] < result['box_AP'] and 31 < min(result.values()) < max(result.values()) < 46


def test_chunks_are_those_of_the_reference_form():
    copies = {}
    for name in ('m:reference', 'm:reference-unchunked'):
        two_windows = Workload(512, 256, 1, False, torch.device('cpu'), torch.float32)
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
def test_forms_are_the_same_network(train):
    plain = prepare(parse('t', train), workload(train))
    assert plain.difference < 1e-6
    reference = prepare(parse('t:reference', train), workload(train))
    assert reference.difference < 1e-5
    parameters = sum(parameter.numel() for parameter in IFormer('t').parameters())
    assert reference.parameters == plain.parameters == parameters
    assert sum(product.macs for product in reference.work) == sum(product.macs for product in plain.work)
    half = prepare(parse('t:bf16', train), workload(train))
    assert 1e-4 < half.difference < 0.1 and {level.dtype for level in half.forward()} == {torch.bfloat16}
    cast = prepare(parse('t:autocast-bf16', train), workload(train))
    assert 1e-4 < cast.difference < 0.1 and {tensor.dtype for tensor in cast.weights} >= {torch.float32}
    windowless = prepare(parse('t:global', train), workload(train))
    assert windowless.difference < 1e-6  # it is held against itself
    assert largest_difference(windowless.forward(), plain.forward()) > 1e-3


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
    network, image = randomise(Network()).eval(), torch.randn(1, 3, 16, 16)
    expected = network(image)
    folded = fold_batch_norms(network, image)
    assert [name for name, m in folded.named_modules() if isinstance(m, torch.nn.BatchNorm2d)] == ['last', 'branch.0']
    assert relative_error(folded(image), expected) < 1e-6
