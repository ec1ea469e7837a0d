"""The embedded mini data set: drawn scenes with exact instance masks and label maps.

One call of :func:`make_dataset` writes the same scenes in the layouts of COCO and of ADE20K, and in that of ImageNet
each of their objects by itself::

    OUT/shapes.json                                                  what it was made with
    OUT/coco/{train2017,val2017}/000000000001.png
    OUT/coco/annotations/instances_{train2017,val2017}.json
    OUT/ade/{images,annotations}/{training,validation}/000000000001.png
    OUT/imagenet/{train,val}/{disc,square,...}/000000000001_1.png

Instances carry the pixels that are *visible*, as uncompressed run lengths (a ring has a hole, a covered disc may be in
two parts), so the masks of a picture never overlap. Label maps follow ADE20K's convention, so that
`reduce_zero_label=True` stays as the base configs have it: 0 means unlabeled, which no pixel of a drawn scene is, 1 is
the background and `2 + i` is `CLASSES[i]`.

The same arguments give the same pixels and annotations on every machine (with the pinned NumPy and OpenCV), however
many threads it uses.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from ..errors import UserError
from .drawing import DIRECTIONS, SHAPES, Outline, Pose, background, between, expose, paint, rasterize

CLASSES = tuple(SHAPES)
PALETTE = ((228, 87, 86), (76, 120, 168), (245, 177, 52), (84, 162, 75), (178, 121, 162), (70, 190, 190))  # RGB
MIN_SIZE = 64

_VERSION = 3  # of what is written; raise it with every change that moves a pixel
_HELD_OUT = 5  # one scene in so many is held out
_SPLITS = {'train': ('train2017', 'training'), 'val': ('val2017', 'validation')}  # names in COCO and ADE20K
_MARGIN = 0.1  # around an object in a picture of its own

_ATTEMPTS = 40
_MIN_VISIBLE = 0.65  # the share of each object that stays in sight


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and what is in it.

    Attributes:
        image: Pixels, uint8, (H, W, 3), in OpenCV's order BGR.
        instances: Whose pixel it is, uint8, (H, W): 0 is the background, k is object k - 1.
        labels: Class index of each object in drawing order; the last one lies on top.
        outlines: The closed contours of each object, float64, (K, 2), as (x, y) in pixels, where the first pixel
            reaches from 0 to 1. A second contour cuts a hole.
    """

    image: np.ndarray
    instances: np.ndarray
    labels: tuple[int, ...]
    outlines: tuple[Outline, ...]

    def masks(self) -> np.ndarray:
        """Return the visible pixels of each object, bool, (N, H, W): disjoint, none empty."""
        return self.instances == np.arange(1, len(self.labels) + 1, dtype=np.uint8)[:, None, None]

    def label_map(self) -> np.ndarray:
        """Return ADE20K's label map, uint8, (H, W): 1 is the background, `2 + i` the class `CLASSES[i]`."""
        return np.array([1, *(2 + label for label in self.labels)], np.uint8)[self.instances]


def make_scene(seed: int, split: str, index: int, size: int = 128) -> Scene:
    """Draw one scene: of 1 to 6 objects mostly, but of every 16 one is empty and two are crowded (up to 10 small ones).

    Args:
        seed: 0 or more.
        split: `'train'` or `'val'`, two independent streams of one seed.
        index: Which scene of the stream, from 0. No scene depends on another.
        size: Longer side in pixels, a multiple of 4 from 64 up. The shorter side is as long, or three quarters of it.

    Raises:
        UserError: An argument is out of its range.
    """
    _check_scene_arguments(seed, size)
    if split not in _SPLITS:
        raise UserError(f'split must be one of {tuple(_SPLITS)}, but got {split!r}')
    rng = np.random.default_rng([seed, tuple(_SPLITS).index(split), index])
    height, width = ((size, size), (size * 3 // 4, size), (size, size * 3 // 4))[rng.integers(3)]
    light = DIRECTIONS[rng.integers(360)]
    image = background(rng, height, width, size / 128)
    instances = np.zeros((height, width), np.uint8)

    crowded, empty = index % 8 == 5, index % 16 == 9
    count = 0 if empty else rng.integers(8, 11) if crowded else rng.integers(1, 7)
    radii = (0.13, 0.18) if crowded else (0.16, 0.30)
    labels, outlines, areas = [], [], []
    for _ in range(count):
        label = int(rng.integers(len(CLASSES)))
        shape = SHAPES[CLASSES[label]]
        for _ in range(_ATTEMPTS):
            pose = Pose.draw(rng, height, width, between(rng, *radii) * size)
            outline = pose.outline(shape)
            coverage, window, area = rasterize(outline, height, width)
            painted = instances.copy()
            painted[window][coverage >= 0.5] = len(labels) + 1
            visible = np.bincount(painted.ravel(), minlength=len(labels) + 2)[1:]
            if all(visible >= _MIN_VISIBLE * np.array([*areas, area])):
                break
        else:
            continue  # no room left for this one
        paint(rng, image, shape, pose, light)
        instances = painted
        labels.append(label)
        outlines.append(outline)
        areas.append(area)
    return Scene(expose(rng, image, light), instances, tuple(labels), tuple(outlines))


def make_dataset(out: str | Path, images: int = 300, size: int = 128, seed: int = 0, progress: bool = False) -> bool:
    """Write a data set in all layouts, with one scene in five (at least one) held out.

    It is made in a temporary folder beside `out` and moved there at the end, so an interrupted call leaves no `out`.

    Args:
        out: The folder to make.
        images: How many, 2 or more. A larger data set begins with the scenes of a smaller one.
        size: Longer side of the images in pixels (see :func:`make_scene`).
        seed: 0 or more.
        progress: Show progress bars on stderr.

    Returns:
        True, or False where `out` is this data set already; then nothing is done.

    Raises:
        UserError: An argument is out of its range.
        FileExistsError: `out` holds something else.
    """
    _check_scene_arguments(seed, size)
    if images < 2:
        raise UserError(f'images must be 2 or more (one to train on, one held out), but got {images}')
    out = Path(out).resolve()  # a link stays, what it points at is made
    made_with = dict(version=_VERSION, images=images, size=size, seed=seed)
    if _is_complete(out, made_with):
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{out.name}.', dir=out.parent) as folder:
        unfinished = Path(folder) / out.name
        for split, count in _counts(images).items():
            scenes = (make_scene(seed, split, index, size) for index in range(count))
            console = Console(stderr=True)
            _write_split(unfinished, split, track(scenes, split, count, console=console, disable=not progress))
        (unfinished / 'shapes.json').write_text(json.dumps(made_with) + '\n')
        unfinished.replace(out)
    return True


def _check_scene_arguments(seed: int, size: int) -> None:
    if seed < 0:
        raise UserError(f'seed must be 0 or more, but got {seed}')
    if size < MIN_SIZE or size % 4:
        raise UserError(f'size must be a multiple of 4 and at least {MIN_SIZE} pixels, but got {size}')


def _counts(images: int) -> dict[str, int]:
    held_out = max(images // _HELD_OUT, 1)
    return {'train': images - held_out, 'val': held_out}


def _image_files(out: Path, split: str, index: int) -> tuple[Path, Path, Path]:
    """Return the paths of COCO's image, ADE20K's image and its label map."""
    coco, ade = _SPLITS[split]
    name = f'{index + 1:012d}.png'
    return out / 'coco' / coco / name, out / 'ade/images' / ade / name, out / 'ade/annotations' / ade / name


def _annotation_file(out: Path, split: str) -> Path:
    return out / f'coco/annotations/instances_{_SPLITS[split][0]}.json'


def _all_files(out: Path, images: int) -> Iterator[Path]:
    for split, count in _counts(images).items():
        yield _annotation_file(out, split)
        for index in range(count):
            yield from _image_files(out, split, index)


def _is_complete(out: Path, made_with: dict[str, int]) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / 'shapes.json').read_text())
    except (OSError, ValueError):
        raise FileExistsError(f'{out} exists and is no shapes data set: remove it or choose another folder') from None
    if found != made_with:
        raise FileExistsError(
            f'{out} holds a shapes data set made with {found}, not with {made_with}: '
            'ask for the same one, remove it, or choose another folder'
        )
    missing = [path for path in _all_files(out, made_with['images']) if not path.is_file()]
    if missing:
        raise FileExistsError(
            f'{out} lacks {len(missing)} of its files, first {missing[0]}: remove it and make it again'
        )
    return True


def _write_split(out: Path, split: str, scenes: Iterable[Scene]) -> None:
    for path in (*_image_files(out, split, 0), _annotation_file(out, split)):
        path.parent.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for index, scene in enumerate(scenes):
        coco_image, ade_image, label_map = _image_files(out, split, index)
        pixels = _png(scene.image)
        coco_image.write_bytes(pixels)
        ade_image.write_bytes(pixels)
        label_map.write_bytes(_png(scene.label_map()))
        for number, (label, pixels) in enumerate(crops(scene), 1):
            path = out / 'imagenet' / split / CLASSES[label] / f'{index + 1:012d}_{number}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_png(pixels))
        height, width = scene.instances.shape
        images.append(dict(id=index + 1, file_name=coco_image.name, height=height, width=width))
        for label, mask in zip(scene.labels, scene.masks(), strict=True):
            annotations.append(dict(id=len(annotations) + 1, image_id=index + 1, **_coco_instance(label, mask)))
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    _annotation_file(out, split).write_text(json.dumps(content, separators=(',', ':')))


def crops(scene: Scene) -> Iterator[tuple[int, np.ndarray]]:
    """Each object of a scene by itself: its class index, and the pixels of the square around it, cut at the borders."""
    height, width = scene.instances.shape
    for label, mask in zip(scene.labels, scene.masks(), strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        y, x = int(rows[0] + rows[-1] + 1) // 2, int(columns[0] + columns[-1] + 1) // 2
        reach = math.ceil((0.5 + _MARGIN) * max(len(rows), len(columns)))
        yield label, scene.image[max(y - reach, 0) : min(y + reach, height), max(x - reach, 0) : min(x + reach, width)]


def _coco_instance(label: int, mask: np.ndarray) -> dict:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return dict(
        category_id=label + 1,
        segmentation=dict(size=list(mask.shape), counts=_run_lengths(mask)),
        area=int(mask.sum()),
        bbox=[left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        iscrowd=0,
    )


def _run_lengths(mask: np.ndarray) -> list[int]:
    """Return COCO's run lengths: down the columns, first of zeros (perhaps none), then of ones, and so on."""
    pixels = mask.ravel(order='F')
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff([0, *ends, pixels.size]).tolist()
    return [0, *runs] if pixels[0] else runs


def _png(pixels: np.ndarray) -> bytes:
    return cv2.imencode('.png', pixels)[1].tobytes()
