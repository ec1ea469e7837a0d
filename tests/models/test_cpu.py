"""Linear layers with packed weights: when they are packed, and that the layer's own weights are what counts."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from torch import nn

from mmiformer.models import cpu
from mmiformer.models.cpu import PACKED_ROWS, packed_linear

from ..helpers import relative_error

pytestmark = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason='this torch has no MKL')


@pytest.fixture(autouse=True)
def packing_without_gradients(monkeypatch):
    monkeypatch.setattr(cpu, '_packs', lambda: True)  # on a processor that gains nothing by it, too
    with torch.no_grad():
        yield


@pytest.mark.parametrize('vendor, packs', [('GenuineIntel', True), ('AuthenticAMD', False)])
def test_the_rule(monkeypatch, vendor, packs):
    monkeypatch.undo()
    monkeypatch.setattr(cpu, '_cpuinfo', lambda: frozenset({vendor}))
    assert cpu._packs.__wrapped__() == packs


def exact(x: torch.Tensor, layer: nn.Linear) -> torch.Tensor:
    return x.double() @ layer.weight.double().t() + layer.bias.double()


def test_same_as_the_layer():
    layer, x = nn.Linear(48, 96), torch.randn(2, 5, 7, 48)
    assert packed_linear(x, layer) is None  # the first of so many rows
    for _ in range(2):
        x = torch.randn(2, 5, 7, 48)
        found = packed_linear(x, layer)
        assert found.shape == (2, 5, 7, 96) and relative_error(found, exact(x, layer)) < 1e-6
    transposed = torch.randn(2, 48, 5, 7).permute(0, 2, 3, 1)
    assert relative_error(packed_linear(transposed, layer), exact(transposed, layer)) < 1e-6


def test_other_numbers_of_rows_are_packed_for_when_they_come_twice():
    layer = nn.Linear(16, 8)
    for rows, is_packed in (
        (4, 0),
        (4, 1),
        (6, 0),
        (4, 0),
        (6, 0),
        (6, 1),
        (6, 1),
        (PACKED_ROWS + 1, 0),
        (PACKED_ROWS + 1, 0),
        (6, 1),
    ):
        x = torch.randn(rows, 16)
        found = packed_linear(x, layer)
        assert (found is not None) == is_packed
        assert not is_packed or relative_error(found, exact(x, layer)) < 1e-6


@pytest.mark.parametrize('change', ['in place', 'load', 'replace'])
def test_changed_weights_count(change):
    layer, x = nn.Linear(16, 8), torch.randn(4, 16)
    packed_linear(x, layer), packed_linear(x, layer)
    if change == 'in place':
        layer.weight.mul_(2)
    elif change == 'load':
        layer.load_state_dict(nn.Linear(16, 8).state_dict())
    else:
        layer.weight = nn.Parameter(torch.randn(8, 16))
    assert packed_linear(x, layer) is None
    assert relative_error(packed_linear(x, layer), exact(x, layer)) < 1e-6


def test_layers_stay_as_they_are():
    """They can be copied, saved and forgotten."""
    layer, x = nn.Linear(16, 8), torch.randn(4, 16)
    packed_linear(x, layer), packed_linear(x, layer)
    other = copy.deepcopy(layer)
    other.weight.mul_(3)
    packed_linear(x, other), packed_linear(x, layer)
    assert relative_error(packed_linear(x, other), exact(x, other)) < 1e-6
    assert relative_error(packed_linear(x, layer), exact(x, layer)) < 1e-6
    assert set(layer.state_dict()) == {'weight', 'bias'} and set(vars(layer)) == set(vars(nn.Linear(16, 8)))
    gc.collect()
    before = len(cpu._packed)
    del layer, other
    gc.collect()
    assert len(cpu._packed) == before - 2


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_other_data_types_are_not_packed(dtype):
    layer, x = nn.Linear(16, 8, dtype=dtype), torch.randn(4, 16, dtype=dtype)
    assert packed_linear(x, layer) is None and packed_linear(x, layer) is None


def test_inference_mode():
    with torch.inference_mode():  # weights made here do not tell whether they change
        layer, x = nn.Linear(16, 8), torch.randn(4, 16)
        assert packed_linear(x, layer) is None and packed_linear(x, layer) is None
    layer = nn.Linear(16, 8)
    with torch.inference_mode():
        packed_linear(x, layer)
        assert relative_error(packed_linear(x, layer), exact(x, layer)) < 1e-6
