"""Tiny data sets in the layouts of COCO and ADE20K, with crowd regions and ignored pixels in them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

HEIGHT, WIDTH = 60, 80


def make_coco(root: Path, classes: list[str], train: int = 4, val: int = 3, seed: int = 0) -> Path:
    """Images of flat boxes on noise, each image with one crowd region in its last rows."""
    rng = np.random.default_rng(seed)
    categories = [dict(id=10 + 2 * k, name=name) for k, name in enumerate(classes)]  # ids are not the labels
    (root / 'annotations').mkdir(parents=True)
    for split, number in (('train', train), ('val', val)):
        (root / f'{split}2017').mkdir()
        images, annotations = [], []
        for image_id in range(1, number + 1):
            image = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            name = f'{image_id:012d}.jpg'
            images.append(dict(id=image_id, file_name=name, height=HEIGHT, width=WIDTH))
            for x, y, w, h in ((2, 2, 34, 20), (40, 5, 38, 36), (5, 26, 20, 14)):
                kind = int(rng.integers(3))
                image[y : y + h, x : x + w] = 80 + 60 * kind
                polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
                annotations.append(
                    dict(
                        image_id=image_id,
                        category_id=categories[kind]['id'],
                        bbox=[x, y, w, h],
                        area=w * h,
                        segmentation=[polygon],
                        iscrowd=0,
                    )
                )
            crowd = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
            crowd[46:, 10:70] = 1
            image[46:, 10:70] = 200
            counts = rle.encode(crowd)
            runs = dict(size=counts['size'], counts=counts['counts'].decode())
            annotations.append(
                dict(
                    image_id=image_id,
                    category_id=categories[0]['id'],
                    bbox=[10, 46, 60, 14],
                    area=840,
                    segmentation=runs,
                    iscrowd=1,
                )
            )
            cv2.imwrite(str(root / f'{split}2017' / name), image)
        for number, annotation in enumerate(annotations, 1):
            annotation['id'] = number
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / 'annotations' / f'instances_{split}2017.json').write_text(json.dumps(content))
    return root


def make_ade(root: Path, train: int = 4, val: int = 3, seed: int = 0) -> Path:
    """Images of four flat regions; the label files hold 1 to 150 for classes, and 0 and 255 for pixels without one."""
    rng = np.random.default_rng(seed)
    for split, number in (('training', train), ('validation', val)):
        images, labels = root / 'images' / split, root / 'annotations' / split
        images.mkdir(parents=True), labels.mkdir(parents=True)
        for index in range(1, number + 1):
            height, width = HEIGHT + 4 * index, WIDTH + 7 * index
            label = np.empty((height, width), np.uint8)
            rows, columns = np.array_split(np.arange(height), 2), np.array_split(np.arange(width), 2)
            for value, (r, c) in zip(
                rng.choice([1, 2, 3, 8, 150], 4), [(r, c) for r in rows for c in columns], strict=True
            ):
                label[np.ix_(r, c)] = value
            label[:4], label[:, -3:] = 0, 255
            image = np.stack([label * 7 % 251, label * 31 % 241, 255 - label], -1).astype(np.uint8)
            name = f'ADE_{split[:5]}_{index:08d}'
            cv2.imwrite(str(images / f'{name}.jpg'), image)
            cv2.imwrite(str(labels / f'{name}.png'), label)
    return root
