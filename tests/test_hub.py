"""Configs by name, in a checkout. tests/test_packaging.py does the same with an installed wheel."""

from pathlib import Path

import pytest

from mmiformer import hub

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize('name', ['mask_rcnn/iformer_m_1x', 'mask_rcnn/iformer_m_1x.py'])
def test_config_by_name(name):
    config = hub.get_config(name)
    assert config.model.backbone.type == 'mmiformer.IFormer'
    assert config.filename == str(ROOT / 'configs' / 'mask_rcnn' / 'iformer_m_1x.py')


@pytest.mark.parametrize('name', ['mask_rcnn/iformer_x_1x', '../setup', '_base_/mmdet_runtime', ''])
def test_unknown_name_lists_those_that_there_are(name):
    with pytest.raises(ValueError, match='there are: .*mask_rcnn/iformer_m_1x') as caught:
        hub.get_config(name)
    assert repr(name) in str(caught.value) and '_base_' not in str(caught.value).split('there are:')[1]


def test_package_without_configs(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, 'PACKAGE', tmp_path / 'mmiformer')
    with pytest.raises(FileNotFoundError, match='pip install'):
        hub.get_config('mask_rcnn/iformer_m_1x')
