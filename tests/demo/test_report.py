"""The report of the demo: pictures that show what was annotated and found, one page with all in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mmiformer.datasets.shapes import CLASSES, PALETTE, make_dataset
from mmiformer.demo.report import Result, draw_picture, format_results, write_report
from mmiformer.demo.scenes import draw_instances, draw_labels, draw_scene, held_out, read_instances, read_pixels
from mmiformer.evaluation.curves import Curves

BACKGROUND = (60, 60, 60)
ZOOM = 5
TRUTH = 'coco/annotations/instances_val2017.json'


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'shapes'
    make_dataset(root, 10, 64)
    return root


@pytest.fixture(scope='module')
def found(data, tmp_path_factory) -> Path:
    """Predictions that are the truth, in the files of tools/predict.py; each instance once more with a low score."""
    folder = tmp_path_factory.mktemp('found')
    content = json.loads((data / TRUTH).read_text())
    sure = [{**annotation, 'score': 0.9} for annotation in content['annotations']]
    doubtful = [{**annotation, 'score': 0.4, 'category_id': 1} for annotation in content['annotations']]
    (folder / 'predictions.json').write_text(json.dumps({**content, 'annotations': sure + doubtful}))
    (folder / 'labels').mkdir()
    for scene in held_out(data):
        labels = cv2.imread(str(data / 'ade/annotations/validation' / scene.name), cv2.IMREAD_UNCHANGED) - 1
        image = Image.fromarray(labels)
        image.putpalette([0] * 768)  # colors are not what counts
        image.save(folder / 'labels' / scene.name)
    return folder


def render(image: np.ndarray, draw: Callable[..., None], *arguments: object) -> tuple[np.ndarray, Axes]:
    """What is drawn over a scene, ZOOM times as large, (ZOOM H, ZOOM W, 3), RGB."""
    height, width = image.shape[:2]
    side = max(height, width)
    figure = Figure(figsize=(side * ZOOM / 100, side * ZOOM / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    draw(axes, image, *arguments)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    top, left = ((side - length) * ZOOM // 2 for length in (height, width))
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(float)
    return pixels[top : top + height * ZOOM, left : left + width * ZOOM], axes


def test_drawings_show_what_is_there(data, found):
    """Pixels inside an object take on the color of its class, by the annotation as by the label map; others do not."""
    shown = 0
    for scene in held_out(data):
        image = read_pixels(scene)
        labels = cv2.imread(str(data / 'ade/annotations/validation' / scene.name), cv2.IMREAD_UNCHANGED) - 1
        plain, _ = render(image, draw_scene)
        segmentation, _ = render(image, draw_labels, read_pixels(found / 'labels' / scene.name))
        instances, axes = render(image, draw_instances, read_instances(data / TRUTH, scene.name))
        assert plain.shape == segmentation.shape == (ZOOM * labels.shape[0], ZOOM * labels.shape[1], 3)
        assert [text.get_text() for text in axes.texts].count(CLASSES[labels.max() - 1]) >= 1
        for value, color in enumerate((BACKGROUND, *PALETTE)):
            mask = cv2.erode((labels == value).astype(np.uint8), np.ones((5, 5)), borderValue=0)
            if not mask.any():
                continue
            inside = cv2.resize(mask, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST).astype(bool)
            before, *after = (np.abs(drawn[inside] - color).mean() for drawn in (plain, segmentation, instances))
            assert after[0] < 0.5 * before
            assert after[1] < 0.6 * before if value else np.abs(instances[inside] - plain[inside]).mean() < 10
            shown += 1
    assert shown >= 4


def test_only_sure_detections_are_drawn(data, found):
    scene = held_out(data)[0].name
    truth, detections = read_instances(data / TRUTH, scene), read_instances(found / 'predictions.json', scene)
    assert len(truth) > 1 and [{**one, 'score': 0.9} for one in truth] == detections
    _, axes = render(read_pixels(held_out(data)[0]), draw_instances, detections)
    assert [text.get_text() for text in axes.texts] == [f'{CLASSES[one["category_id"] - 1]} 90' for one in truth]


def test_picture_and_page(data, found, tmp_path):
    results = [
        Result('One', {'box AP': 51.25, 'mask AP': None}, Curves({1: 3.0, 2: 2.0}, {'box AP': {2: 51.25}})),
        Result('Two', {'mIoU': 83.0}, Curves({1: 1.0, 2: 0.5}, {'mIoU': {2: 83.0}})),
    ]
    draw_picture(tmp_path / 'report.png', results, data, found, found)
    picture = cv2.imread(str(tmp_path / 'report.png'))
    assert picture.shape[0] > 1000 and picture.shape[1] > 1000 and 30 < picture.std()
    seconds = {'train': 61.0, 'evaluate': 9.6, 'in all': 70.6}
    write_report(tmp_path / 'report.html', results, seconds, dict(seed=3), tmp_path / 'report.png')
    page = (tmp_path / 'report.html').read_text()
    for cell in ('51.2', '83.0', '-', '0:01:01', '0:00:10', '0:01:11', '3'):
        assert f'<td>{cell}</td>' in page

    text = format_results(results, seconds)
    assert text.startswith('One\n') and '\nbox   51.2\nmask     -\n' in text and '83.0' in text
    assert text.splitlines()[-1].split() == ['in', 'all', '0:01:11']
