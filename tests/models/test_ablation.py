"""The networks of the ablations: they train, and their blocks do what the paper says."""

import json

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS

from mmiformer import get_config
from mmiformer.benchmark.ablation import TABLES
from mmiformer.models import IFormer, IFormerClassifier
from mmiformer.models.ablation import MHA, SHA, ConcatSHA, LightConvNeXt, PreLNSiLUSHMA, QuarterSHA, SplitSHA, attend

from ..left_out import needs_extra

NORM = dict(type='BN')
CONFIGS = {
    get_config(f'ablation/{name}').model.backbone.type: name for table in TABLES.values() for name in table.configs
}


def block(kind, channels=32):
    """A block in evaluation mode whose batch norms do something."""
    torch.manual_seed(0)
    return kind(channels, channels, NORM).eval()


@pytest.mark.parametrize('name', CONFIGS.values(), ids=CONFIGS)
def test_a_training_step_reaches_every_parameter(name):
    cfg = get_config(f'ablation/{name}').model
    torch.manual_seed(0)
    network = MODELS.build(cfg)
    network.init_weights()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    loss = F.cross_entropy(network(torch.randn(2, 3, 64, 64)), torch.tensor([1, 2]))
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
    # The stem's way to the loss is long: a bias before a batch norm gets a gradient of rounding errors alone.
    changed = [name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])]
    assert len(changed) > 0.9 * len(before)


def test_the_last_step_is_iformer_m():
    """Its weights are those of the classifier, and so are its outputs."""
    torch.manual_seed(0)
    ours = MODELS.build(get_config('ablation/figure2_11_iformer_m').model).eval()
    theirs = IFormerClassifier('m').eval()
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(ours(image), theirs(image))


def test_convnext_is_timms():
    needs_extra('peers')
    import timm

    theirs = timm.models.convnext.ConvNeXt(
        depths=(2, 2, 6, 2), dims=(48, 96, 192, 384), ls_init_value=None, conv_mlp=True, num_classes=0
    ).eval()
    cfg = get_config('ablation/figure2_01_convnext').model.backbone
    ours = MODELS.build(cfg).eval()
    assert type(ours) is LightConvNeXt
    source = [*theirs.stem.parameters(), *theirs.stages.parameters()]
    with torch.no_grad():
        for parameter, value in zip(ours.parameters(), source, strict=True):
            parameter.copy_(value + 0.02 * torch.randn_like(value))
            value.copy_(parameter)
        image = torch.randn(1, 3, 64, 64)
        expected = theirs.stages(theirs.stem(image))
        assert expected.std() > 0.1
        torch.testing.assert_close(ours(image)[-1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('heads', [1, 3])
def test_attention_head_by_head(heads):
    q, k, v = torch.randn(2, 12, 4, 5), torch.randn(2, 12, 4, 5), torch.randn(2, 24, 4, 5)
    expected = []
    for one, other, value in zip(q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True):
        scores = torch.einsum('bchw,bcxy->bhwxy', one, other) / one.shape[1] ** 0.5
        expected.append(torch.einsum('bhwxy,bcxy->bchw', scores.flatten(3).softmax(-1).view_as(scores), value))
    torch.testing.assert_close(attend(q, k, v, heads), torch.cat(expected, 1))


def test_heads_of_the_baselines():
    network = MODELS.build(get_config('ablation/table1_mha').model)
    heads = [module.heads for module in network.modules() if isinstance(module, MHA)]
    assert heads == [6] * 4 + [12] * 2
    single = MODELS.build(get_config('ablation/table1_sha').model)
    assert single.state_dict().keys() == network.state_dict().keys()
    assert [module.heads for module in single.modules() if isinstance(module, SHA)] == [1] * 6


def test_towards_shvit():
    """Which channels of the input have a say."""
    x, other = torch.randn(2, 2, 32, 4, 4)
    rest = torch.cat((x[:, :8], other[:, 8:]), 1)
    with torch.no_grad():
        torch.testing.assert_close(block(SplitSHA)(x), block(SHA)(x))
        assert torch.equal(block(QuarterSHA).branch(x), block(QuarterSHA).branch(rest))
        concat = block(ConcatSHA)
        assert not torch.allclose(concat.branch(x), concat.branch(rest))
        torch.testing.assert_close(concat.attention(x[:, :8]), concat.attention(rest[:, :8]))


def test_layer_norm_comes_first():
    """So the scale of the tokens does not matter."""
    attention, x = block(PreLNSiLUSHMA), torch.randn(2, 32, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(attention.branch(5 * x), attention.branch(x), rtol=1e-4, atol=1e-5)


def test_there_is_no_deploy_form():
    with pytest.raises(ValueError, match='Identity'):
        MODELS.build(get_config('ablation/figure2_09_shma').model.backbone).switch_to_deploy()


def test_backbones_are_iformers_with_its_arguments():
    for name in CONFIGS.values():
        cfg = get_config(f'ablation/{name}').model.backbone
        with torch.device('meta'):
            assert isinstance(MODELS.build(cfg), IFormer)
    with pytest.raises(TypeError, match='pretrained'):
        MODELS.build(dict(json.loads(json.dumps(cfg)), pretrained=True))
