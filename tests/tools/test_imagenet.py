"""Training, resuming and evaluating a classifier by the tools, on a handful of made images in ImageNet's folders."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmiformer import checkpoint
from mmiformer.datasets.imagenet import preprocess
from mmiformer.models import IFormerClassifier
from mmiformer.models.layouts import convert

from ..helpers import randomize
from ..left_out import needs_extra
from .command import REPO
from .in_process import call

needs_extra('imagenet')

CLASSES = tuple(f'n{number:08d}' for number in range(6))
CONFIG = """
_base_ = '{base}'
model = dict(num_classes=6, {model})
dataset = dict(metainfo=dict(classes={classes}))
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dataset)
val_dataloader = dict(num_workers=0, dataset=dataset)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, begin=0, end=1)]
default_hooks = dict(logger=dict(interval=1))
{more}
"""


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> Path:
    """A classifier in the layout of the released files, with all that they hold."""
    path = tmp_path_factory.mktemp('weights') / 'iFormer_t.pth'
    network = randomize(IFormerClassifier('t', len(CLASSES)))
    network.head.fc.weight.data *= 0.01  # so that no score is 0, which the metric leaves out
    content = dict(model=convert(network.state_dict(), 'released'), args=argparse.Namespace(lr=4e-3), epoch=299)
    checkpoint.save(content, path)
    return path


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """Images of a few colors, some in each folder."""
    root, rng = tmp_path_factory.mktemp('imagenet'), np.random.default_rng(0)
    for split, number in (('train', 8), ('val', 12)):
        for index in range(number):
            folder = root / split / CLASSES[index % len(CLASSES)]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((320, 270), Image.Resampling.BICUBIC).save(folder / f'{index}.png')
    return root


def expected(data: Path, weights: Path) -> dict[str, float]:
    """Top-1 and top-5 accuracy, image by image."""
    network = IFormerClassifier('t', len(CLASSES))
    network.load_state_dict(checkpoint.load(weights)['model'])
    network.eval()
    ranks = []
    for label, name in enumerate(CLASSES):
        for path in (data / 'val' / name).iterdir():
            with Image.open(path) as image, torch.no_grad():
                logits = network(preprocess(image)[None])[0]
            ranks.append(logits.argsort(descending=True).tolist().index(label))
    return {f'top{k}': 100 * np.mean([rank < k for rank in ranks]) for k in (1, 5)}


def write(path: Path, base: str = 'iformer_t_300e', model: str = '', more: str = '') -> Path:
    base = REPO / 'configs/imagenet' / f'{base}.py'
    path.write_text(CONFIG.format(base=base, model=model, more=more, classes=CLASSES))
    return path


def scalars(work_dir: Path) -> list[dict]:
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_released_file_is_evaluated(data, weights, tmp_path, monkeypatch, capsys):
    config, out = write(tmp_path / 'net.py'), tmp_path / 'figures.json'
    common = ('--data-root', data, '--work-dir', tmp_path / 'test')
    assert call(monkeypatch, 'test', config, weights, *common, '--out', out) is None
    figures = json.loads(out.read_text())['figures']
    assert figures == pytest.approx(expected(data, weights), abs=0.01) and 0 < figures['top5'] < 100
    assert 'top1' in capsys.readouterr().out
    wrong = write(tmp_path / 'wrong.py', 'iformer_s_300e')
    assert "arch='t'" in str(call(monkeypatch, 'test', wrong, weights, *common))


def test_train_resume_and_go_on_from_a_released_file(data, weights, tmp_path, monkeypatch):
    config, work_dir = write(tmp_path / 'net.py'), tmp_path / 'run'
    arguments = (config, '--data-root', data, '--work-dir', work_dir)
    options = ('--cfg-options', 'model.init_cfg.type=Pretrained', f'model.init_cfg.checkpoint={weights}')
    assert call(monkeypatch, 'train', *arguments, '--auto-scale-lr', *options) is None
    steps = [one for one in scalars(work_dir) if 'loss' in one]
    assert len(steps) == 2 and all(np.isfinite(one['loss']) for one in steps)
    assert max(one['lr'] for one in steps) <= 4e-3 * 4 / 4096 * 1.001  # scaled from a batch of 4096
    more = ('--cfg-options', 'train_cfg.max_epochs=2')
    assert call(monkeypatch, 'train', *arguments, '--auto-scale-lr', '--resume', *more) is None
    trained = checkpoint.load(work_dir / 'epoch_2.pth')
    network = IFormerClassifier('t', len(CLASSES))
    network.load_state_dict(trained['state_dict'])
    near = checkpoint.load(weights)['model']
    before = convert(near, 'mmiformer')['head.fc.weight']
    assert 0 < (network.head.fc.weight - before).abs().max() < 0.01  # it began there


def test_distillation_by_the_tools(data, weights, tmp_path, monkeypatch):
    """The teacher is in no checkpoint, nor among the averages of weights, and a resumed run has it again."""
    teacher = "dict(type='mmiformer.IFormerClassifier', arch='t', num_classes=6, init_cfg=dict(type='Pretrained', "
    model = f"distillation=True, teacher={teacher}checkpoint='{weights}'))"
    more = "custom_hooks = [dict(type='EMAHook', momentum=0.1)]"
    config, work_dir = write(tmp_path / 'net.py', model=model, more=more), tmp_path / 'run'
    arguments = (config, '--data-root', data, '--work-dir', work_dir)
    assert call(monkeypatch, 'train', *arguments) is None
    steps = [one for one in scalars(work_dir) if 'loss' in one]
    assert len(steps) == 2
    assert all(one['loss'] == pytest.approx(one['loss_label'] + one['loss_teacher'], rel=1e-3) for one in steps)
    saved = checkpoint.load(work_dir / 'epoch_1.pth')
    alone = IFormerClassifier('t', len(CLASSES), distillation=True)
    assert saved['state_dict'].keys() == alone.state_dict().keys()
    assert {key.removeprefix('module.') for key in saved['ema_state_dict']} - {'steps'} == alone.state_dict().keys()
    assert call(monkeypatch, 'train', *arguments, '--resume', '--cfg-options', 'train_cfg.max_epochs=2') is None
    weights.rename(weights.with_suffix('.away'))
    try:
        assert 'iFormer_t.pth' in str(call(monkeypatch, 'train', *arguments[:-1], tmp_path / 'other'))
        assert call(monkeypatch, 'test', *arguments[:1], work_dir / 'epoch_2.pth', *arguments[1:]) is None
    finally:
        weights.with_suffix('.away').rename(weights)


def test_what_is_wrong_with_the_data(data, tmp_path, monkeypatch):
    config = write(tmp_path / 'net.py')
    run = ('train', config, '--work-dir', tmp_path / 'run', '--data-root')
    said = str(call(monkeypatch, *run, tmp_path / 'nothing'))
    assert 'images is missing' in said and 'train_dataloader' in said
    for name in CLASSES[1:]:
        (tmp_path / 'data/train' / name).mkdir(parents=True)
    assert 'has no images in folders' in str(call(monkeypatch, *run, tmp_path / 'data'))
    (tmp_path / 'data/train' / CLASSES[1] / 'a.JPEG').write_bytes(b'no image')
    assert 'has 5 folders' in str(call(monkeypatch, *run, tmp_path / 'data'))
    (tmp_path / 'data/train' / CLASSES[0]).mkdir()
    said = str(call(monkeypatch, *run, tmp_path / 'data'))
    assert 'no images in 5 folders' in said and '1 of 1 images cannot be read' in said
    official = REPO / 'configs/imagenet/iformer_t_300e.py'
    said = str(call(monkeypatch, 'train', official, *run[2:], tmp_path / 'nothing'))
    assert 'prepare_data.py imagenet' in said and 'image-net.org' in said
    wrong = write(tmp_path / 'wrong.py')
    wrong.write_text(wrong.read_text().replace('num_classes=6', 'num_classes=7'))
    said = str(call(monkeypatch, 'train', wrong, *run[2:], data))
    assert 'model.num_classes=6' in said


def test_an_ablation_trains(data, tmp_path, monkeypatch):
    config = tmp_path / 'net.py'
    base = REPO / 'configs/ablation/table6_silu_pre_ln.py'
    config.write_text(CONFIG.format(base=base, model='', more='', classes=CLASSES))
    options = ('train_dataloader.dataset.indices=4', 'val_dataloader.dataset.indices=1')
    arguments = (config, '--data-root', data, '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    assert call(monkeypatch, 'train', *arguments) is None
    assert len([one for one in scalars(tmp_path / 'run') if np.isfinite(one.get('loss', np.nan))]) == 1
