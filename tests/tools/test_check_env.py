"""The check at the end of the set-up. That it passes in a complete environment is part of every set-up."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location('check_env', ROOT / 'tools' / 'check_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_backbone_runs(script):
    assert script.check_backbone('cpu').endswith('32x16x24, 64x8x12, 128x4x6, 256x2x3')


def test_operator_runs(script):
    assert 'nms on cpu' in script.check_operators('cpu')


def test_broken_part_is_named_with_its_cause_and_a_remedy(script, monkeypatch, tmp_path):
    (tmp_path / 'brokenpart.py').write_text('assert False, "MMCV==9 is used but incompatible"\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as caught:
        script.check_part('brokenpart')
    assert 'brokenpart does not import: AssertionError: MMCV==9' in str(caught.value)
    assert 'make setup' in str(caught.value)


def test_wrong_operator_is_reported(script, monkeypatch):
    import mmcv.ops
    import torch

    monkeypatch.setattr(mmcv.ops, 'nms', lambda boxes, *_: (boxes, torch.tensor([0, 1])))
    with pytest.raises(RuntimeError, match=r'kept boxes \[0, 1\]'):
        script.check_operators('cpu')
