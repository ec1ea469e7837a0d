"""Pictures of held-out scenes with what is in them and what was found, large enough to look at."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from ..datasets.shapes import CLASSES, PALETTE

ZOOM = 3
BACKGROUND = (60, 60, 60)


@dataclass(frozen=True)
class Views:
    """A scene five times, each uint8, (H, W, 3), RGB, ZOOM times as large as the scene.

    Attributes:
        scene: As it is.
        instances: With the annotated instances.
        detections: With those that the detector found.
        labels: Its label map.
        segmentation: The segmentor's.
    """

    scene: np.ndarray
    instances: np.ndarray
    detections: np.ndarray
    labels: np.ndarray
    segmentation: np.ndarray


def held_out(data: Path, number: int) -> list[Path]:
    """The first `number` held-out scenes of a shapes data set, in COCO's layout (every eighth scene is crowded)."""
    return sorted((data / 'coco/val2017').glob('*.png'))[:number]


def view(data: Path, scene: Path, detections: Path, segmentations: Path, score_thr: float = 0.5) -> Views:
    """Draw a scene.

    Args:
        data: The shapes data set.
        scene: Its picture.
        detections: The folder of `tools/predict.py` for the detector.
        segmentations: That for the segmentor.
        score_thr: Score from which a detection is drawn.
    """
    image = cv2.resize(cv2.imread(str(scene)), None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)[..., ::-1]
    truth = _annotations(data / 'coco/annotations/instances_val2017.json', scene.name)
    found = _annotations(detections / 'predictions.json', scene.name)
    found = [detection for detection in found if detection['score'] >= score_thr]
    labels = cv2.imread(str(data / 'ade/annotations/validation' / scene.name), cv2.IMREAD_UNCHANGED) - 1
    # the values of a PNG with a palette, which OpenCV would turn into colours
    segmentation = _read_indices(segmentations / 'labels' / scene.name)
    return Views(
        image,
        draw_instances(image, truth),
        draw_instances(image, sorted(found, key=lambda detection: detection['score'])),
        draw_labels(image, labels),
        draw_labels(image, segmentation),
    )


def _annotations(file: Path, name: str) -> list[dict]:
    content = json.loads(file.read_text())
    (image_id,) = (image['id'] for image in content['images'] if Path(image['file_name']).name == name)
    return [annotation for annotation in content['annotations'] if annotation['image_id'] == image_id]


def _read_indices(file: Path) -> np.ndarray:
    from PIL import Image

    return np.array(Image.open(file))


def _decode(runs: dict) -> np.ndarray:
    if isinstance(runs['counts'], list):
        runs = rle.frPyObjects(runs, *runs['size'])
    return np.array(rle.decode(runs))


def _enlarge(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)


def _blend(picture: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], share: float) -> None:
    picture[mask] = np.rint((1 - share) * picture[mask] + share * np.array(color)).astype(np.uint8)


def _outline(picture: np.ndarray, mask: np.ndarray, color: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, color, 1, cv2.LINE_AA)


def draw_instances(image: np.ndarray, instances: Iterable[dict]) -> np.ndarray:
    """Draw masks, boxes and names.

    Args:
        image: (H, W, 3), RGB, ZOOM times as large as what was annotated.
        instances: COCO's annotations or results, with masks as run lengths.
    """
    picture = image.copy()
    instances = list(instances)
    for instance in instances:
        color = PALETTE[instance['category_id'] - 1]
        mask = _enlarge(_decode(instance['segmentation']))
        _blend(picture, mask.astype(bool), color, 0.55)
        _outline(picture, mask, (255, 255, 255))
    for instance in instances:  # over the masks
        color = PALETTE[instance['category_id'] - 1]
        x, y, w, h = (round(ZOOM * v) for v in instance['bbox'])
        cv2.rectangle(picture, (x, y), (x + w - 1, y + h - 1), color, 2)
        name = CLASSES[instance['category_id'] - 1]
        if 'score' in instance:
            name += f' {100 * instance["score"]:.0f}'
        (wide, high), below = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
        x, y = min(max(x, 0), picture.shape[1] - wide - 4), max(y, high + below)
        cv2.rectangle(picture, (x, y - high - below), (x + wide + 3, y + 1), color, cv2.FILLED)
        cv2.putText(
            picture, name, (x + 2, y - below + 2), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA
        )
    return picture


def draw_labels(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Lay a label map over an image: 0 is the background, 1 + i the class `CLASSES[i]`.

    Args:
        image: (H, W, 3), RGB, ZOOM times as large as the label map.
        labels: (H / ZOOM, W / ZOOM).
    """
    picture = image.copy()
    for value, color in enumerate((BACKGROUND, *PALETTE)):
        mask = _enlarge((labels == value).astype(np.uint8))
        _blend(picture, mask.astype(bool), color, 0.7)
        if value:
            _outline(picture, mask, (255, 255, 255))
    return picture
