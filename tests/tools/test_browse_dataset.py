"""tools/browse_dataset.py on tiny data sets: the pictures show what the network is fed, in the right colors."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmseg.datasets import ADE20KDataset

from .command import REPO
from .in_process import call
from .made_data import HEIGHT, WIDTH, make_ade, make_coco

MASK_RCNN = REPO / 'configs/mask_rcnn/iformer_t_1x.py'
SEM_FPN = REPO / 'configs/sem_fpn/iformer_t_40k.py'


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path)).astype(int)


def test_detection(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_coco(tmp_path / 'coco', list(CocoDataset.METAINFO['classes']))
    size = f'train_dataloader.dataset.pipeline.2.scale=({2 * WIDTH},{2 * HEIGHT})'
    command = (MASK_RCNN, '--data-root', 'coco', '--number', 3)
    assert call(monkeypatch, 'browse_dataset', *command, '--cfg-options', size) is None
    folder = tmp_path / 'work_dirs/iformer_t_1x/browse_train'
    assert capsys.readouterr().out.splitlines()[-1] == '3 pictures are in work_dirs/iformer_t_1x/browse_train'
    pictures = sorted(folder.iterdir())
    assert len(pictures) == 3 == len({path.stem.split('_')[1] for path in pictures})
    for path in pictures:
        picture = read(path)
        assert picture.shape == (128, 160, 3)  # 120 x 160, padded to a multiple of 32
        # The images are gray, and the annotations' colors are not.
        colorful = np.ptp(cv2.blur(picture.astype(np.uint8), (5, 5)).astype(int), -1) > 40
        boxes = np.zeros(colorful.shape, bool)
        for x, y, w, h in ((2, 2, 34, 20), (40, 5, 38, 36), (5, 26, 20, 14)):
            boxes[2 * y : 2 * (y + h), 2 * x : 2 * (x + w)] = True
        overlap = [(colorful & truth).sum() / (colorful | truth).sum() for truth in (boxes, boxes[:, ::-1])]
        assert max(overlap) > 0.75
        assert np.abs(picture[123:] - [104, 116, 124]).max() < 8  # padded with zeros, which are the mean

    refused = call(monkeypatch, 'browse_dataset', *command)
    assert refused.startswith('error: ') and 'not empty' in refused
    wrong = call(monkeypatch, 'browse_dataset', MASK_RCNN, '--data-root', 'nowhere', '--overwrite')
    assert wrong.startswith('error: ') and 'nowhere/annotations/instances_train2017.json' in wrong


def test_segmentation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ade = make_ade(tmp_path / 'ade', val=2)
    command = (SEM_FPN, '--data-root', 'ade', '--out', 'looks', '--split', 'val')
    size = 'val_dataloader.dataset.pipeline.1.scale=(512,256)'
    assert call(monkeypatch, 'browse_dataset', *command, '--cfg-options', size) is None
    assert capsys.readouterr().out.splitlines()[-1] == '2 pictures are in looks'
    palette = np.array(ADE20KDataset.METAINFO['palette'])[:, ::-1]  # BGR, as everything here
    checked = 0
    for path in sorted((tmp_path / 'looks').iterdir()):
        picture, name = read(path), path.stem.split('_', 1)[1]
        height, width = picture.shape[:2]
        image = cv2.resize(cv2.imread(str(ade / f'images/validation/{name}.jpg')), (width, height))
        label = cv2.imread(str(ade / f'annotations/validation/{name}.png'), cv2.IMREAD_UNCHANGED)
        assert min(height, width) == 256 != min(label.shape)
        label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
        for value in set(np.unique(label)) - {0, 255}:
            blend = 0.4 * image + 0.6 * palette[value - 1]
            assert np.median(np.abs(picture - blend)[label == value]) < 4
            checked += 1
        ignored = np.abs(picture - 0.4 * image)[label == 0]  # left dark
        assert np.median(ignored) < 4
    assert checked >= 4


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_one_channel(task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if task == 'detection':
        make_coco(tmp_path / 'data', list(CocoDataset.METAINFO['classes']), val=1)
    else:
        make_ade(tmp_path / 'data', val=1)
    config = MASK_RCNN if task == 'detection' else SEM_FPN
    looks = []
    normal = 'model.data_preprocessor.bgr_to_rgb=False'
    for color, mean, std in (('color', '[116.0,116.0,116.0]', '[57.0,57.0,57.0]'), ('grayscale', '[116.0]', '[57.0]')):
        options = [normal, f'model.data_preprocessor.mean={mean}', f'model.data_preprocessor.std={std}']
        options += [f'val_dataloader.dataset.pipeline.0.color_type={color}']
        options += [f'model.backbone.in_channels={1 if color == "grayscale" else 3}']
        command = (config, '--data-root', 'data', '--out', color, '--split', 'val', '--cfg-options', *options)
        assert call(monkeypatch, 'browse_dataset', *command) is None
        looks.append(read(next((tmp_path / color).iterdir())))
    colored, gray = looks
    assert colored.shape == gray.shape
    # The annotations have the same colors in the same places; under them the image is gray.
    assert np.abs(gray.mean(-1) - colored.mean(-1)).mean() < 6
