"""The backbone compiled part by part."""

import pytest
import torch
import torch._dynamo
from torch import nn
from torch._dynamo.utils import counters

from mmiformer.models import IFormer
from mmiformer.models.compiling import compile_backbones

from ..helpers import SHALLOW, randomize, relative_error


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize('deploy', [False, True])
@torch.no_grad()
def test_sizes_share_what_was_compiled(deploy):
    plain = randomize(IFormer(SHALLOW, window_size=4)).eval()
    model = nn.ModuleDict(dict(backbone=randomize(IFormer(SHALLOW, window_size=4)).eval()))
    if deploy:
        model['backbone'].switch_to_deploy()
    keys = model.state_dict().keys()
    assert compile_backbones(model, backend='eager') == 1 and compile_backbones(nn.Linear(1, 1)) == 0
    assert model.state_dict().keys() == keys
    graphs = []
    for height, width in ((64, 96), (70, 90), (100, 64), (192, 160), (66, 150), (64, 100)):
        x = torch.randn(2, 3, height, width)
        for output, expected in zip(model['backbone'](x), plain(x), strict=True):
            assert relative_error(output, expected) < 1e-4
        graphs.append(counters['stats']['unique_graphs'])
    assert 8 < graphs[0] <= 20  # stem, downsamplings and kinds of blocks
    assert graphs[2:] == [graphs[2]] * 4 and graphs[2] <= graphs[0] + 4, graphs  # with padding and without


def test_gradients():
    networks = [randomize(IFormer(SHALLOW, window_size=4, norm_eval=True)).train() for _ in range(2)]
    compile_backbones(networks[1], backend='eager')
    x, gradients = torch.randn(2, 3, 70, 90), []
    for network in networks:
        sum(output.square().mean() for output in network(x)).backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))
    assert counters['stats']['unique_graphs'] > 8 and relative_error(*gradients) < 1e-5
