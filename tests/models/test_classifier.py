"""The classification network against the released one, and against timm's."""

import functools

import pytest
import torch

from mmiformer.models import IFormerClassifier
from mmiformer.models.layouts import convert
from mmiformer.registry import MODELS

from ..helpers import relative_error
from ..left_out import needs_extra
from ..parity import CLASSIFIERS, image, probe, reference, released_state_dict


@functools.cache
def expected() -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(array) for key, array in reference('classification').items()}


def kept(output: torch.Tensor) -> torch.Tensor:
    """The entries that the fixtures keep."""
    return torch.from_numpy(probe(output))


def released(name: str) -> IFormerClassifier:
    """The network with the weights of the fixtures, loaded as the released files hold them."""
    _, arch, *distilled = name.split('_')
    classifier = IFormerClassifier(arch, distillation=bool(distilled))
    classifier.load_state_dict(released_state_dict(name))
    return classifier.eval()


@torch.no_grad()
def outputs(classifier: IFormerClassifier, x: torch.Tensor) -> dict:
    """The four stages' maps and the logits."""
    backbone = classifier.backbone
    maps, x = [], backbone.stem(x)
    for stage in backbone.stages:
        x = stage(x)
        maps.append(x)
    features = maps[-1].mean((2, 3))
    heads = [classifier.head(features)] + ([classifier.head_dist(features)] if classifier.distillation else [])
    return {f'level{i}': level for i, level in enumerate(maps)} | dict(logits=sum(heads) / len(heads))


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_computes_what_the_released_network_computed(name):
    arch = name.split('_')[1]
    classifier = released(name)
    results = outputs(classifier, image(224, 224))
    with torch.no_grad():
        assert relative_error(results['logits'], classifier(image(224, 224))) < 1e-5
    errors = {}
    for output, value in results.items():
        key = f'{arch}/224x224/{output}'
        errors[output] = relative_error(kept(value), expected()[key if output == 'logits' else f'{key}/probe'])
        if output != 'logits':
            assert list(value.shape) == expected()[f'{key}/shape'].tolist()
            moments = [value.double().mean().item(), value.double().std().item()]
            assert moments == pytest.approx(expected()[f'{key}/moments'].tolist(), rel=1e-3, abs=1e-5)
    assert len(errors) == 5 and max(errors.values()) < 1e-4, errors


@pytest.mark.parametrize('name', ['cls_m', 'cls_l2_distill'])
def test_the_rest_is_rounding(name):
    """In float64 the network is as far from its own float32 as the released float32 is from it."""
    arch = name.split('_')[1]
    single = outputs(released(name), image(224, 224))
    double = outputs(released(name).double(), image(224, 224).double())
    for output, value in double.items():
        key = f'{arch}/224x224/{output}' + ('' if output == 'logits' else '/probe')
        exact = kept(value)
        ours, theirs = relative_error(kept(single[output]), exact), relative_error(expected()[key], exact)
        assert 0 < ours < 2e-5 and 0 < theirs < 2e-5
        assert theirs < 10 * ours + 1e-6


@pytest.mark.parametrize(('model', 'name'), [('iformer_m', 'cls_m'), ('iformer_m_distilled', 'cls_m_distill')])
def test_timm_is_a_second_witness(model, name):
    needs_extra('peers')
    import timm

    weights = convert(released_state_dict(name), 'timm')
    theirs = timm.create_model(model).eval()
    theirs.load_state_dict(weights)
    classifier = IFormerClassifier('m', distillation=model.endswith('distilled')).eval()
    classifier.load_state_dict(weights)
    x = image(224, 160)
    ours = outputs(classifier, x)
    with torch.no_grad():
        maps, logits = theirs.forward_intermediates(x, intermediates_only=True), theirs(x)
    assert len(maps) == 4
    errors = [relative_error(ours[f'level{i}'], level) for i, level in enumerate(maps)]
    assert max(*errors, relative_error(ours['logits'], logits)) < 1e-5


def test_two_heads_train_apart_and_are_averaged_in_evaluation():
    torch.manual_seed(0)
    classifier = IFormerClassifier('t', num_classes=5, distillation=True)
    x = torch.rand(2, 3, 64, 64)
    classes, taught = classifier(x)
    assert classes.shape == taught.shape == (2, 5) and not torch.equal(classes, taught)
    classifier.eval()
    features = classifier.backbone(x)[-1].mean((2, 3))
    torch.testing.assert_close(classifier(x), (classifier.head(features) + classifier.head_dist(features)) / 2)
    (classes.sum() + taught.sum()).backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())
    assert IFormerClassifier('t', num_classes=5).eval()(x).shape == (2, 5)


def test_initialization():
    torch.manual_seed(0)
    classifier = IFormerClassifier('t', distillation=True)
    classifier.init_weights()
    for head in (classifier.head, classifier.head_dist):
        assert head.fc.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert not head.fc.bias.any() and (head.norm.weight == 1).all()
    assert classifier.backbone.stem[1].conv.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_builds_from_a_config():
    built = MODELS.build(dict(type='mmiformer.IFormerClassifier', arch='t', num_classes=7))
    assert built.head.fc.out_features == 7


def test_wrong_arguments():
    with pytest.raises(ValueError, match='num_classes=0'):
        IFormerClassifier('t', num_classes=0)
    with pytest.raises(ValueError, match="arch='xl'"):
        IFormerClassifier('xl')
