"""The command lines about weights: converting, counting, checking on ImageNet."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmiformer import checkpoint
from mmiformer.datasets.imagenet import preprocess
from mmiformer.models import IFormerClassifier
from mmiformer.models.layouts import LAYOUTS, convert

from ..helpers import TINY, randomize
from ..parity import released_state_dict

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(monkeypatch, name: str, *arguments) -> None:
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
    load(name).main()


def same(one: dict, other: dict) -> bool:
    return set(one) == set(other) and all(one[key].numpy().tobytes() == other[key].numpy().tobytes() for key in one)


# --- convert_checkpoint.py


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
@pytest.mark.parametrize('layout', ['mmiformer', 'timm'])
def test_classifier_files_there_and_back(tmp_path, monkeypatch, capsys, ending, layout):
    start = released_state_dict('cls_t')
    torch.save({'model': start, 'epoch': 300}, tmp_path / 'iFormer_t.pth')
    run(monkeypatch, 'convert_checkpoint', tmp_path / 'iFormer_t.pth', tmp_path / f'there.{ending}', '--to', layout)
    assert f'(layout released) -> {tmp_path}/there.{ending} (layout {layout}): 451 tensors' in capsys.readouterr().out
    run(monkeypatch, 'convert_checkpoint', tmp_path / f'there.{ending}', tmp_path / 'back.pth', '--to', 'released')
    back = torch.load(tmp_path / 'back.pth', weights_only=True)
    assert same(back['model'], start)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_detector_files_keep_heads_and_classes(tmp_path, monkeypatch, layout):
    start = {f'backbone.{key}': tensor for key, tensor in released_state_dict('dense_m').items()}
    start |= {'neck.lateral_convs.0.conv.weight': torch.rand(2, 2), 'rpn_head.rpn_conv.bias': torch.rand(2)}
    meta = dict(dataset_meta=dict(classes=('cat', 'dog')))
    torch.save({'state_dict': start, 'meta': meta, 'optimizer': {'state': {}}}, tmp_path / 'epoch_12.pth')
    run(monkeypatch, 'convert_checkpoint', tmp_path / 'epoch_12.pth', tmp_path / 'there.pth', '--to', layout)
    there = torch.load(tmp_path / 'there.pth', weights_only=True)
    assert same(there if layout == 'timm' else there['state_dict'], convert(start, layout))
    if layout != 'timm':
        assert there['meta'] == meta and set(there) == {'state_dict', 'meta'}
    run(monkeypatch, 'convert_checkpoint', tmp_path / 'there.pth', tmp_path / 'back.pth', '--to', 'released')
    back = torch.load(tmp_path / 'back.pth', weights_only=True)
    assert same(back['state_dict'], start)


def test_what_cannot_be_converted(tmp_path, monkeypatch):
    torch.save({'conv1.weight': torch.zeros(1)}, tmp_path / 'resnet.pth')
    for arguments, message in (
        ((tmp_path / 'none.pth', tmp_path / 'x.pth'), 'none.pth: no such file'),
        ((tmp_path / 'resnet.pth', tmp_path / 'x.pth'), 'no iFormer backbone'),
    ):
        with pytest.raises(SystemExit, match=message):
            run(monkeypatch, 'convert_checkpoint', *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ['resnet.pth']


def test_what_holds_more_than_weights_is_read_only_on_trust(tmp_path, monkeypatch):
    start = released_state_dict('cls_t')
    torch.save({'model': start, 'folder': tmp_path}, tmp_path / 'theirs.pth')
    files = tmp_path / 'theirs.pth', tmp_path / 'clean.pth'
    with pytest.raises(SystemExit, match='theirs.pth is refused'):
        run(monkeypatch, 'convert_checkpoint', *files, '--to', 'released')
    assert not files[1].exists()
    run(monkeypatch, 'convert_checkpoint', *files, '--to', 'released', '--trust-checkpoint')
    clean = torch.load(files[1], weights_only=True)
    assert set(clean) == {'model'} and same(clean['model'], start)


# --- complexity.py


def test_complexity_of_a_variant_and_of_a_config(monkeypatch, capsys):
    run(monkeypatch, 'complexity', 't', '--size', '64', '96')
    printed = capsys.readouterr().out
    assert 'classifier, 224 x 224, global attention' in printed and '2.886   0.530' in printed
    assert 'backbone, 64 x 96, windows' in printed and '2.629' in printed and 'batch' in printed
    config = TOOLS.parent / 'configs' / 'mask_rcnn' / 'iformer_t_1x.py'
    run(monkeypatch, 'complexity', config, '--size', '64')
    printed = capsys.readouterr().out
    assert 'whole, 64 x 64' in printed and '1000 proposals' in printed and '100 detections' in printed


def test_complexity_of_nothing(monkeypatch, capsys):
    with pytest.raises(SystemExit, match='xl'):
        run(monkeypatch, 'complexity', 'xl')
    with pytest.raises(SystemExit):
        run(monkeypatch, 'complexity', 't', '--size', '16')
    assert 'from 32 up' in capsys.readouterr().err


# --- check_imagenet.py

COLORS = dict(n01=(200, 30, 30), n02=(30, 200, 30), n03=(30, 30, 200))


@pytest.fixture
def images(tmp_path):
    """Three classes, each of one color and of images of several sizes and modes."""
    rng = np.random.default_rng(0)
    for name, color in COLORS.items():
        folder = tmp_path / 'val' / name
        folder.mkdir(parents=True)
        for index, (height, width) in enumerate([(300, 400), (400, 300), (256, 256), (100, 120)]):
            pixels = np.clip(np.array(color) + rng.integers(-30, 31, (height, width, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f'{index}.{"JPEG" if index else "png"}')
    (tmp_path / 'val' / 'n01' / 'notes.txt').write_text('no image')
    return tmp_path / 'val'


@pytest.fixture
def weights(tmp_path, images):
    """A small classifier that knows the colors: its head is fitted to the features of the images' mean colors."""
    torch.manual_seed(0)
    classifier = randomize(IFormerClassifier(TINY, num_classes=3)).eval()
    with torch.no_grad():
        plain = torch.stack([preprocess(Image.new('RGB', (256, 256), color)) for color in COLORS.values()])
        features = classifier.backbone(plain)[-1].mean((2, 3))
        centered = features - features.mean(0)
        classifier.head.norm.running_mean.copy_(features.mean(0))
        classifier.head.norm.running_var.fill_(1)
        classifier.head.norm.weight.fill_(1)
        classifier.head.norm.bias.zero_()
        classifier.head.fc.weight.copy_(torch.linalg.pinv(centered).T)
        classifier.head.fc.bias.zero_()
    checkpoint.save({'model': convert(classifier.state_dict(), 'released')}, tmp_path / 'iFormer_s.pth')
    return tmp_path / 'iFormer_s.pth'


def test_accuracy_beside_the_published(tmp_path, monkeypatch, capsys, images, weights):
    options = ('--workers', '0', '--batch-size', '5', '--out', tmp_path / 'out.json')
    run(monkeypatch, 'check_imagenet', weights, images, *options)
    printed = capsys.readouterr().out
    assert 'on 12 images' in printed and 'top1  100.00    78.8' in printed and 'top5  100.00       -' in printed
    assert json.loads((tmp_path / 'out.json').read_text())['measured'] == dict(top1=100.0, top5=100.0)

    (images / 'n01').rename(images / 'n04')  # now red is the last class, and every answer is wrong
    run(monkeypatch, 'check_imagenet', weights, images, *options)
    assert json.loads((tmp_path / 'out.json').read_text())['measured']['top1'] == 0


def test_image_preparation():
    ramp = np.tile(np.arange(512, dtype=np.float32) / 2, (256, 1)).astype(np.uint8)  # 256 high, 512 wide, gray
    image = preprocess(Image.fromarray(ramp))
    assert image.shape == (3, 224, 224) and image.dtype == torch.float32
    # The shorter side is 256 as it is; columns 144 to 367 remain.
    expected = torch.from_numpy(ramp[16:240, 144:368].astype(np.float32) / 255)
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        torch.testing.assert_close(image[channel], (expected - mean) / std)


def test_wrong_folders_and_images(tmp_path, monkeypatch, images, weights):
    def fails(message: str, *arguments) -> None:
        with pytest.raises(SystemExit, match=message):
            run(monkeypatch, 'check_imagenet', *arguments, '--workers', '0')

    fails('there is no folder .*nowhere', weights, tmp_path / 'nowhere')
    (images / 'n03' / '0.png').write_bytes(b'no image')
    fails(r'n03/0\.png cannot be read as an image', weights, images)
    (images / 'n00').mkdir()
    fails('has 4 folders, the weights know 3 classes', weights, images)
    (images / 'n01').rename(tmp_path / 'n01')
    fails(r'no images \(\.jpg, \.jpeg, \.png\) in 1 folders: n00', weights, images)
    torch.save(released_state_dict('dense_m'), tmp_path / 'dense.pth')
    fails('holds no classifier', tmp_path / 'dense.pth', images)
