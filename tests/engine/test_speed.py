"""Faster forms of a backbone inside a model."""

import pytest
from torch import nn

from mmiformer.engine.speed import NoFastForm, speed_up
from mmiformer.models import IFormer

from ..helpers import TINY


def test_backbone_takes_its_form(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, 'compile', lambda self, **options: compiled.append(self))
    model = nn.ModuleDict(dict(backbone=IFormer(TINY), head=nn.Linear(2, 2)))
    speed_up(model)
    assert not model['backbone'].deploy and not compiled
    speed_up(model, deploy=True, compile=True)
    assert model['backbone'].deploy and model['backbone'].stem in compiled and model['head'] not in compiled


@pytest.mark.parametrize('option', ['deploy', 'compile'])
def test_a_model_without_one_is_an_error(option):
    with pytest.raises(NoFastForm, match=f'--{option}: '):
        speed_up(nn.Linear(2, 2), **{option: True})


def test_norms_that_do_not_fold_are_named():
    with pytest.raises(NoFastForm, match=r'--deploy: stem\.0\.norm is GroupNorm'):
        speed_up(IFormer(TINY, norm_cfg=dict(type='GN', num_groups=4)), deploy=True)
