"""The report of the demo: curves of resumed runs, pictures that show what was annotated, one page with all in it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmiformer.datasets.shapes import PALETTE, make_dataset
from mmiformer.demo.curves import Curves, read_curves
from mmiformer.demo.pictures import BACKGROUND, ZOOM, held_out, view
from mmiformer.demo.report import Part, draw, format_results, write_page


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'shapes'
    make_dataset(root, 10, 64)
    return root


@pytest.fixture(scope='module')
def found(data, tmp_path_factory) -> Path:
    """Predictions that are the truth, in the files of tools/predict.py; each instance once more with a low score."""
    folder = tmp_path_factory.mktemp('found')
    content = json.loads((data / 'coco/annotations/instances_val2017.json').read_text())
    sure = [{**annotation, 'score': 0.9} for annotation in content['annotations']]
    doubtful = [{**annotation, 'score': 0.4, 'category_id': 1} for annotation in content['annotations']]
    (folder / 'predictions.json').write_text(json.dumps({**content, 'annotations': sure + doubtful}))
    (folder / 'labels').mkdir()
    for scene in held_out(data, 2):
        labels = cv2.imread(str(data / 'ade/annotations/validation' / scene.name), cv2.IMREAD_UNCHANGED) - 1
        image = Image.fromarray(labels)
        image.putpalette([0] * 768)  # colours are not what counts
        image.save(folder / 'labels' / scene.name)
    return folder


def write_scalars(folder: Path, *lines: dict, end: str = '') -> None:
    (folder / 'vis_data').mkdir(parents=True)
    (folder / 'vis_data/scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines) + end)


def test_curves_of_epochs(tmp_path):
    """Evaluations are logged by epoch, losses by iteration; the second run went on after epoch 1."""
    write_scalars(
        tmp_path / '20260101_000000',
        dict(loss=4.0, epoch=1, iter=10, step=10),
        dict(loss=3.0, epoch=1, iter=20, step=20),
        {'coco/bbox_mAP': 0.1, 'coco/segm_mAP': 0.05, 'step': 1},
        dict(loss=9.0, epoch=2, iter=30, step=30),
        end='{"loss": 8.0, "epo',
    )
    write_scalars(
        tmp_path / '20260101_010000',
        dict(loss=2.0, epoch=2, iter=30, step=30),
        dict(loss=1.0, epoch=2, iter=40, step=40),
        {'coco/bbox_mAP': 0.5, 'coco/segm_mAP': 0.4, 'step': 2},
    )
    curves = read_curves(tmp_path)
    assert curves.loss == {10: 4.0, 20: 3.0, 30: 2.0, 40: 1.0}
    assert curves.metrics['box AP'] == pytest.approx({20: 10, 40: 50})
    assert curves.metrics['mask AP'] == pytest.approx({20: 5, 40: 40})


def test_curves_of_iterations(tmp_path):
    write_scalars(tmp_path / '1', dict(loss=2.0, iter=10, step=10), dict(mIoU=55.5, mAcc=60.0, step=10))
    curves = read_curves(tmp_path)
    assert curves == Curves({10: 2.0}, {'mIoU': {10: 55.5}})


def test_no_curves(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no run'):
        read_curves(tmp_path)


def test_views_show_what_is_there(data, found):
    """Pixels inside an object take on the colour of its class; truth and the same as a prediction look alike."""
    shown = 0
    for scene in held_out(data, 2):
        views = view(data, scene, found, found)
        labels = cv2.imread(str(data / 'ade/annotations/validation' / scene.name), cv2.IMREAD_UNCHANGED)
        assert views.scene.shape == (ZOOM * labels.shape[0], ZOOM * labels.shape[1], 3)
        assert (views.labels == views.segmentation).all()
        for value, color in enumerate((BACKGROUND, *PALETTE), 1):
            mask = cv2.erode((labels == value).astype(np.uint8), np.ones((5, 5)), borderValue=0)
            if not mask.any():
                continue
            inside = cv2.resize(mask, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST).astype(bool)
            moved = np.abs(views.labels[inside] - np.array(color, float)).mean()
            assert moved < 0.5 * np.abs(views.scene[inside] - np.array(color, float)).mean()
            shown += 1
        changed = (views.instances != views.scene).any(-1)
        objects = cv2.resize((labels > 1).astype(np.uint8), None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
        assert changed[objects == 1].mean() > 0.95
        # the prediction has scores in its names, and nothing of what it is not sure of
        assert 0 < (views.detections != views.instances).any(-1).mean() < 0.25
    assert shown >= 4


def test_picture_and_page(data, found, tmp_path):
    views = [view(data, scene, found, found) for scene in held_out(data, 2)]
    parts = [
        Part('One', {'box AP': 51.25, 'mask AP': None}, Curves({1: 3.0, 2: 2.0}, {'box AP': {2: 51.25}})),
        Part('Two <b>', {'mIoU': 83.0}, Curves({1: 1.0, 2: 0.5}, {'mIoU': {2: 83.0}})),
    ]
    draw(parts, views, tmp_path / 'report.png')
    picture = cv2.imread(str(tmp_path / 'report.png'))
    assert picture.shape[0] > 1000 and picture.shape[1] > 1000 and 30 < picture.std()
    times = {'train': 61.0, 'evaluate': 9.6, 'in all': 70.6}
    write_page(parts, times, dict(seed=3), tmp_path / 'report.png', tmp_path / 'report.html')
    page = (tmp_path / 'report.html').read_text()
    assert '<td>51.2</td>' in page and '<td>83.0</td>' in page and '<td>-</td>' in page and 'Two &lt;b&gt;' in page
    assert '<td>1:01</td>' in page and '<td>0:10</td>' in page and '<td>1:11</td>' in page and '<td>3</td>' in page
    inlined = re.search(r'base64,([^"]+)"', page)[1]
    assert base64.b64decode(inlined) == (tmp_path / 'report.png').read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['report.html', 'report.png']
    assert not re.search(r'(src|href)="(?!data:)', page)

    text = format_results(parts, times).splitlines()
    assert text[0].split('  ')[0] == 'One' and text[0].endswith('box AP 51.2   mask AP -')
    assert text[1].endswith('mIoU 83.0') and text[-1].split() == ['in', 'all', '1:11']
