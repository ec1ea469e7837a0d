"""Published key layouts: recognized, and renamed without loss."""

import pytest
import torch
from torch import nn

from mmiformer.models import IFormer, IFormerClassifier
from mmiformer.models.layouts import LAYOUTS, convert, recognize

from ..parity import CLASSIFIERS, DENSE, detector_file, released, shapes_alone

TABLES = (*CLASSIFIERS, 'cls_m_distill', 'cls_l_distill', *DENSE)


def same(one: dict, other: dict) -> bool:
    return list(one) == list(other) and all(one[key] is other[key] for key in one)


def network(name: str, **options) -> nn.Module:
    """The network of ours that a table is of."""
    kind, arch, *distilled = name.split('_')
    return IFormer(arch, **options) if kind == 'dense' else IFormerClassifier(arch, distillation=bool(distilled))


@pytest.mark.parametrize('name', TABLES)
def test_released_keys_become_the_networks(name):
    converted = convert(shapes_alone(name), 'mmiformer')
    with torch.no_grad():
        expected = network(name).state_dict()
    assert {key: tensor.shape for key, tensor in converted.items()} == {
        key: tensor.shape for key, tensor in expected.items()
    }


@pytest.mark.parametrize('name', TABLES)
@pytest.mark.parametrize('layout', ['mmiformer', 'timm'])
def test_round_trips_change_nothing(name, layout):
    start = shapes_alone(name)
    there = convert(start, layout)
    assert set(there).isdisjoint(start) and recognize(there)[0] == layout
    assert same(convert(there, 'released'), start)
    assert same(convert(there, layout), there)
    for between in LAYOUTS:
        assert same(convert(convert(there, between), layout), there)


def test_values_survive_bit_by_bit():
    start = {key: tensor.clone() for key, tensor in released('cls_t').items()}
    start['classifier.classifier.l.bias'][:3] = torch.tensor([float('nan'), -0.0, float('inf')])
    for layout in LAYOUTS:
        for key, tensor in convert(convert(start, layout), 'released').items():
            assert tensor.numpy().tobytes() == start[key].numpy().tobytes()


def test_necks_and_heads_keep_their_names():
    start = detector_file()
    ours = convert(start, 'mmiformer')
    assert [key for key in ours if not key.startswith('backbone.')] == [
        'neck.weight', 'neck.bias', 'rpn_head.weight', 'rpn_head.bias',
    ]  # fmt: skip
    assert 'backbone.stem.0.conv.weight' in ours
    assert same(convert(ours, 'released'), start)


def test_layouts_are_recognized_wherever_the_backbone_lies():
    for layout in LAYOUTS:
        keys = convert(shapes_alone('dense_m'), layout)
        for prefix in ('', 'backbone.', 'detector.backbone.'):
            assert recognize([prefix + key for key in keys]) == (layout, prefix)
