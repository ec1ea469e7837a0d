"""tools/head_similarity.py on a small network, and tools/ablation.py."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image

from mmiformer import get_config

from ..pages import ROOT
from .in_process import call


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the tool on a config of that name, with random weights, and two images."""
    for name in 'ab':
        noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f'{name}.png')

    def run(name):
        cfg = get_config(f'ablation/{name}')
        cfg.dump(tmp_path / 'config.py')
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'weights.pth')
        files = (tmp_path / name for name in ('config.py', 'weights.pth', 'a.png', 'b.png'))
        return call(monkeypatch, 'head_similarity', *files, '--size', 64, '--out', tmp_path / 'out' / 'heads.png')

    return run


def test_picture_and_table(run, tmp_path, capsys):
    (tmp_path / 'out').mkdir()
    assert run('table1_mha') is None
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[1:7]] == ['1', '2', '3', '4', '5', '6']
    with Image.open(tmp_path / 'out' / 'heads.png') as picture:
        assert picture.format == 'PNG' and min(picture.size) > 300


def test_network_without_several_heads(run):
    assert 'no attention with several heads' in run('table1_sha')


def test_missing_config(tmp_path, monkeypatch):
    message = call(monkeypatch, 'head_similarity', tmp_path / 'none.py', 'weights.pth', ROOT / 'docs' / 'demo.jpg')
    assert 'there is no config' in message
