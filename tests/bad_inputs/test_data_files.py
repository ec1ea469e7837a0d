"""Annotation files, images and label maps that are not what they should be: found, or no trouble to the toolbox."""

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from PIL import Image

from mmiformer.checks.data import check_dataset
from mmiformer.checks.findings import errors
from mmiformer.checks.reading import Sample

HEIGHT, WIDTH = 20, 30
CLASSES = ('cat', 'dog')
POLYGON = [2, 2, 12, 2, 12, 12, 2, 12]
WHOLE = dict(
    images=[
        dict(id=1, file_name='1.png', height=HEIGHT, width=WIDTH),
        dict(id=2, file_name='2.png', height=HEIGHT, width=WIDTH),
    ],
    annotations=[
        dict(id=k, image_id=k, category_id=k, bbox=[2, 2, 10, 10], area=100, iscrowd=0, segmentation=[POLYGON])
        for k in (1, 2)
    ],
    categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
)
GONE = object()
VALUES = [
    GONE,
    None,
    True,
    -1,
    1.5,
    1e300,
    float('nan'),
    2**70,
    '',
    'x',
    'é\n',
    [],
    [[]],
    [None],
    {},
    {'x': 1},
    '../1.png',
]


def annotation_files() -> dict[str, bytes]:
    """{what is wrong: content} of annotation files, of which some are right after all."""
    found = {}
    places = [(table, None) for table in WHOLE] + [(table, key) for table, rows in WHOLE.items() for key in rows[0]]
    for table, key in places:
        for value in VALUES:
            content = copy.deepcopy(WHOLE)
            parent, last = (content, table) if key is None else (content[table][0], key)
            if value is GONE:
                del parent[last]
            else:
                parent[last] = value
            name = 'nothing' if value is GONE else repr(value)
            found[f'{table}.{key}={name}' if key else f'{table}={name}'] = json.dumps(content).encode()
    text = json.dumps(WHOLE)
    files = {
        'no bytes': b'',
        'spaces': b'   \n',
        'zeros': bytes(1000),
        'half': text[: len(text) // 2].encode(),
        'without its last byte': text[:-1].encode(),
        'something after it': f'{text}}}'.encode(),
        'twice': (text * 2).encode(),
        'a list': b'[]',
        'a number': b'3',
        'text': b'"x"',
        'null': b'null',
        'an empty dict': b'{}',
        'a list of it': f'[{text}]'.encode(),
        'a web page': b'<!DOCTYPE html><html></html>',
        'UTF-16': text.encode('utf-16'),
        'a byte order mark': text.encode('utf-8-sig'),
        'Latin-1': text.replace('cat', 'ä').encode('latin-1', 'replace'),
        'single quotes': text.replace('"', "'").encode(),
        'lists 100000 deep': b'[' * 100000,
        'a comment': f'// of mine\n{text}'.encode(),
        'lines of JSON': '\n'.join(json.dumps(row) for row in WHOLE['annotations']).encode(),
        'a Git LFS pointer': b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 448783729\n',
    }
    return found | files


def encoded(ending: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(ending, pixels)[1].tobytes()


def image_files(pixels: np.ndarray) -> dict[str, bytes]:
    """{what is wrong: content} of image files, of which some are right after all."""
    png, jpg = encoded('.png', pixels), encoded('.jpg', pixels)

    def of_pillow(mode: str, kind: str) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels if pixels.ndim == 2 else pixels[..., ::-1]).convert(mode).save(file, kind)
        return file.getvalue()

    def with_size(width: int, height: int) -> bytes:
        return png[:16] + width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + png[24:]

    cuts = {
        f'{name} cut to {part} tenths': whole[: len(whole) * part // 10]
        for name, whole in dict(png=png, jpg=jpg).items()
        for part in range(1, 10)
    }
    flips = {}
    for name, whole in dict(png=png, jpg=jpg).items():
        for at in range(0, len(whole), max(len(whole) // 12, 1)):
            changed = bytearray(whole)
            changed[at] ^= 0xFF
            flips[f'{name} with another byte {at}'] = bytes(changed)
    modes = {
        f'{mode} as {kind}': of_pillow(mode, kind)
        for mode, kind in (
            ('1', 'PNG'),
            ('L', 'PNG'),
            ('P', 'PNG'),
            ('RGBA', 'PNG'),
            ('LA', 'PNG'),
            ('I;16', 'PNG'),
            ('RGB', 'PNG'),
            ('CMYK', 'JPEG'),
            ('L', 'JPEG'),
            ('RGB', 'GIF'),
            ('RGB', 'BMP'),
            ('RGB', 'TIFF'),
            ('F', 'TIFF'),
            ('RGB', 'WEBP'),
            ('RGB', 'PPM'),
            ('RGB', 'ICO'),
        )
    }
    return {
        'no bytes': b'',
        'one byte': b'\x89',
        'zeros': bytes(500),
        'text': b'no image',
        'a web page': b'<!DOCTYPE html><html></html>',
        'a Git LFS pointer': b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
        'an SVG': b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        'a header alone': png[:33],
        'a PNG of no width': with_size(0, HEIGHT),
        'a PNG of 60000 x 60000': with_size(60000, 60000),
        'a PNG of 2**31 x 1': with_size(2**31 - 1, 1),
        'something after it': png + bytes(100),
        'one pixel': encoded('.png', pixels[:1, :1]),
        'turned': encoded('.png', np.ascontiguousarray(pixels.swapaxes(0, 1))),
        'one row less': encoded('.png', pixels[:-1]),
        'values of 16 bits': encoded('.png', pixels.astype(np.uint16) * 257),
        'the pixels of an array': pixels.tobytes(),
        **cuts,
        **flips,
        **modes,
    }


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def label_map() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH), dtype=np.uint8)


LABELS = {
    f'the value {value}': encoded('.png', np.full((HEIGHT, WIDTH), value, np.uint8)) for value in (2, 3, 128, 200, 254)
} | image_files(label_map())
# {kind: {what is wrong: content}}; what is not counted as wrong are the encodings that all readers take.
CASES = dict(annotations=annotation_files(), images=image_files(image()), labels=LABELS)


class Whole(Sample):
    """Decodes the images, in this process."""

    whole = True


def end(config: dict, scope: str, build: Callable[[], Any]) -> str:
    """'found', where the check finds it; 'fine', where the toolbox reads all samples of it; else what went wrong."""
    try:
        findings = list(check_dataset(config, scope=scope, reader=Whole()))
    except Exception as error:
        return f'the check: {type(error).__name__}: {error}'
    if errors(findings):
        return 'found' if all(len(finding.what) < 1000 for finding in findings) else 'a long message'
    try:
        dataset = build()
        for sample in range(len(dataset)):
            dataset[sample]
    except Exception as error:
        return f'the toolbox: {type(error).__name__}: {error} (the check: {[finding.what for finding in findings]})'
    return 'fine'


def unexpected(cases: dict[str, bytes], path: Path, *place: Any) -> list[tuple[str, str]]:
    wrong, found = [], 0
    whole = path.read_bytes()
    assert end(*place) == 'fine'
    for name, content in cases.items():
        path.write_bytes(content)
        ended = end(*place)
        found += ended == 'found'
        if ended not in ('found', 'fine'):
            wrong.append((name, ended))
    path.write_bytes(whole)
    assert found >= len(cases) // 3
    return wrong


@pytest.fixture
def coco(tmp_path) -> tuple:
    for name in ('1.png', '2.png'):
        cv2.imwrite(str(tmp_path / name), image())
    (tmp_path / 'train.json').write_text(json.dumps(WHOLE))
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='PackDetInputs'),
    ]
    config = dict(
        data_root=str(tmp_path),
        ann_file='train.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=CLASSES),
        pipeline=pipeline,
    )
    init_default_scope('mmdet')
    return dict(config, type='CocoDataset'), 'mmdet', lambda: CocoDataset(**copy.deepcopy(config))


@pytest.fixture
def pairs(tmp_path) -> tuple:
    for name in ('1', '2'):
        cv2.imwrite(str(tmp_path / f'{name}.jpg'), image())
        cv2.imwrite(str(tmp_path / f'{name}.png'), label_map())
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    config = dict(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='', seg_map_path=''),
        metainfo=dict(classes=CLASSES),
        pipeline=pipeline,
    )
    init_default_scope('mmseg')
    return dict(config, type='BaseSegDataset'), 'mmseg', lambda: BaseSegDataset(**copy.deepcopy(config))


def test_annotation_files(coco, tmp_path):
    assert unexpected(CASES['annotations'], tmp_path / 'train.json', *coco) == []


def test_images(coco, tmp_path):
    assert unexpected(CASES['images'], tmp_path / '1.png', *coco) == []


def test_label_maps(pairs, tmp_path):
    assert unexpected(CASES['labels'], tmp_path / '1.png', *pairs) == []
