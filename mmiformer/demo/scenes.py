"""Held-out scenes, drawn with what is in them and with what the networks found."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image
from pycocotools import mask as rle

from ..datasets.shapes import CLASSES, PALETTE

BACKGROUND = (60, 60, 60)
COLORS = np.array([BACKGROUND, *PALETTE]) / 255  # by label


def held_out(data: Path) -> list[Path]:
    """The held-out scenes of a shapes data set, in COCO's layout."""
    return sorted((data / 'coco/val2017').glob('*.png'))


def read_instances(file: Path, scene: str, score_thr: float = 0.5) -> list[dict]:
    """The instances of a scene in a file of annotations, or of predictions from a score on, the surest one last."""
    content = json.loads(file.read_text())
    (image_id,) = (image['id'] for image in content['images'] if Path(image['file_name']).name == scene)
    found = [one for one in content['annotations'] if one['image_id'] == image_id and one.get('score', 1) >= score_thr]
    return sorted(found, key=lambda one: one.get('score', 1))


def read_pixels(file: Path) -> np.ndarray:
    """The pixels of an image, or the labels of a label map."""
    return np.array(Image.open(file))


def draw_scene(axes: Axes, image: np.ndarray) -> None:
    """Draw an image in the middle of square axes, so that all are drawn to the same scale."""
    height, width = image.shape[:2]
    axes.imshow(image, interpolation='bicubic')
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    half = max(height, width) / 2
    axes.set(xlim=(width / 2 - half - 0.5, width / 2 + half - 0.5))
    axes.set(ylim=(height / 2 + half - 0.5, height / 2 - half - 0.5))


def draw_labels(axes: Axes, image: np.ndarray, labels: np.ndarray) -> None:
    """Lay a label map over an image: 0 is the background, 1 + i the class `CLASSES[i]`."""
    draw_scene(axes, image)
    axes.imshow(COLORS[labels], alpha=0.65, interpolation='nearest')


def draw_instances(axes: Axes, image: np.ndarray, instances: Iterable[dict]) -> None:
    """Draw the masks, boxes and names of instances, in COCO's format, over an image."""
    draw_scene(axes, image)
    for instance in instances:
        label = instance['category_id']
        color, mask = COLORS[label], _decode(instance['segmentation'])
        axes.imshow(np.dstack([np.broadcast_to(color, (*mask.shape, 3)), 0.6 * mask]), interpolation='nearest')
        if 0 < mask.sum() < mask.size:
            axes.contour(mask, [0.5], colors='white', linewidths=0.6)
        x, y, width, height = instance['bbox']
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, color=color, linewidth=1.2))
        name = CLASSES[label - 1] + (f' {100 * instance["score"]:.0f}' if 'score' in instance else '')
        box = dict(facecolor=color, edgecolor='none', pad=0.8)
        axes.text(max(x, 0), max(y, 0), name, color='white', fontsize=6, va='bottom', bbox=box)


def _decode(runs: dict) -> np.ndarray:
    if isinstance(runs['counts'], list):
        runs = rle.frPyObjects(runs, *runs['size'])
    return np.array(rle.decode(runs))
