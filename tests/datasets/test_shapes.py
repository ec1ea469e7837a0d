"""The embedded data set: the same everywhere, and annotated with what one sees."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmiformer.checks.data import check_dataset
from mmiformer.checks.findings import errors
from mmiformer.datasets.shapes import CLASSES, PALETTE, make_dataset, make_scene

from ..tools.command import REPO, run

IMAGES, SIZE, SEED = 60, 128, 3
COUNTS = dict(train=48, val=12)
ADE = dict(train='training', val='validation')


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'shapes'
    assert make_dataset(root, IMAGES, SIZE, SEED)
    return root


@pytest.fixture(scope='module')
def scenes() -> list:
    return [make_scene(SEED, 'train', index, SIZE) for index in range(COUNTS['train'])]


@pytest.fixture(scope='module', params=COUNTS)
def split(request, root) -> tuple[str, COCO]:
    return request.param, COCO(root / f'coco/annotations/instances_{request.param}2017.json')


def digest(folder: Path) -> str:
    """Hash of every file's name and content; of pictures the pixels, since libpng may pack them differently."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob('*') if path.is_file()):
        whole.update(str(path.relative_to(folder)).encode())
        whole.update(cv2.imread(str(path), -1).tobytes() if path.suffix == '.png' else path.read_bytes())
    return whole.hexdigest()


def edges(contours):
    for contour in contours:
        yield from zip(contour, np.roll(contour, -1, axis=0), strict=True)


def inside(contours, height: int, width: int) -> np.ndarray:
    """Which pixel centres are inside by the even-odd rule, bool, (height, width)."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    odd = np.zeros((height, width), bool)
    for (x0, y0), (x1, y1) in edges(contours):
        if y0 != y1:
            odd ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return odd


def distance(contours, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far places are from the nearest edge."""
    nearest = np.full(x.shape, np.inf)
    for (x0, y0), (x1, y1) in edges(contours):
        dx, dy = x1 - x0, y1 - y0
        along = (((x - x0) * dx + (y - y0) * dy) / (dx**2 + dy**2)).clip(0, 1)
        nearest = np.minimum(nearest, np.hypot(x - x0 - along * dx, y - y0 - along * dy))
    return nearest


# ---- the same everywhere


def test_same_arguments_same_data(root, tmp_path):
    """Another process writes the same, with other numbers of threads and as on a processor without vector units."""
    code = (
        'import sys, cv2; cv2.setNumThreads(4); from mmiformer.datasets.shapes import make_dataset; '
        f'make_dataset(sys.argv[1], {IMAGES}, {SIZE}, {SEED})'
    )
    vectors = np.show_config(mode='dicts').get('SIMD Extensions', {}).get('found', [])
    env = dict(os.environ, PYTHONPATH=str(REPO), OMP_NUM_THREADS='3', NPY_DISABLE_CPU_FEATURES=' '.join(vectors))
    subprocess.run([sys.executable, '-c', code, str(tmp_path / 'again')], env=env, check=True)
    assert digest(tmp_path / 'again') == digest(root)


def test_scenes_are_those_of_every_other_machine():
    """Pixels and masks as they were when these were drawn first; a change here needs a new version in shapes.py."""
    whole = hashlib.sha256()
    for index in range(16):
        scene = make_scene(0, 'train', index)
        whole.update(scene.image.tobytes() + scene.instances.tobytes() + bytes(scene.labels))
    assert whole.hexdigest() == '3073d22920b960ce43a7016fdc23b15cf242a85c8d0f9d0b96d092c285847a22'


def test_streams_differ(scenes):
    images = [scene.image.tobytes() for scene in scenes]
    images += [make_scene(SEED, 'val', index, SIZE).image.tobytes() for index in range(8)]
    images += [make_scene(SEED + 1, 'train', index, SIZE).image.tobytes() for index in range(8)]
    assert len(set(images)) == len(images)


def test_a_larger_data_set_begins_with_the_smaller(root, tmp_path):
    make_dataset(tmp_path / 'small', 10, SIZE, SEED)
    files = sorted((tmp_path / 'small').rglob('*.png'))
    assert len([path for path in files if 'imagenet' not in path.parts]) == 30 < len(files)
    for path in files:
        assert path.read_bytes() == (root / path.relative_to(tmp_path / 'small')).read_bytes()


# ---- annotated with what one sees


def test_masks_are_what_the_outlines_leave_visible(scenes):
    """The outlines by the even-odd rule, painted one over the other, agree to a third of a pixel."""
    compared = 0
    for scene in scenes[:16]:
        painted = np.zeros_like(scene.instances)
        for number, contours in enumerate(scene.outlines, 1):
            painted[inside(contours, *painted.shape)] = number
        y, x = (axis + 0.5 for axis in np.nonzero(painted != scene.instances))
        every_contour = [contour for contours in scene.outlines for contour in contours]
        assert (distance(every_contour, x, y) < 0.36).all()
        compared += len(scene.outlines)
    assert compared > 40


def test_objects_stay_in_sight(scenes):
    for scene in scenes:
        for mask, contours in zip(scene.masks(), scene.outlines, strict=True):
            areas = [abs(np.sum(c[:, 0] * np.roll(c[:, 1], -1) - c[:, 1] * np.roll(c[:, 0], -1))) / 2 for c in contours]
            assert mask.sum() > 0.4 * (areas[0] - sum(areas[1:]))


def test_what_occurs(scenes):
    numbers = [len(scene.labels) for scene in scenes]
    assert numbers.count(0) == 3 and set(range(1, 7)) <= set(numbers) and 7 <= max(numbers) <= 10
    assert {label for scene in scenes for label in scene.labels} == set(range(len(CLASSES)))
    assert {scene.image.shape for scene in scenes} == {(128, 128, 3), (96, 128, 3), (128, 96, 3)}
    sides = [max(np.ptp(axis) + 1 for axis in np.nonzero(mask)) for scene in scenes for mask in scene.masks()]
    assert 16 <= min(sides) <= 30 and 70 <= max(sides) <= 96
    hidden = 0
    for scene in scenes:
        for mask, contours in zip(scene.masks(), scene.outlines, strict=True):
            hidden += mask.sum() < 0.9 * inside(contours, *mask.shape).sum()
    assert hidden > 20


def test_objects_stand_out(scenes):
    """No class is drawn like the background, or not at all: edges show in every picture."""
    for scene in scenes:
        gray = cv2.cvtColor(scene.image, cv2.COLOR_BGR2GRAY).astype(float)
        assert gray.std() > 4 and 25 < gray.mean() < 220
        for mask in scene.masks():
            around = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))).astype(bool) & (scene.instances == 0)
            if around.any():
                difference = scene.image[mask].astype(float).mean(0) - scene.image[around].astype(float).mean(0)
                spread = scene.image[mask].astype(float).std(0).max() + 1
                assert np.abs(difference).max() > 10 or spread > 10


def test_instances_as_pycocotools_reads_them(split, root):
    """Box, area, runs and pictures agree with each other and with the scenes."""
    name, coco = split
    assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert len(coco.imgs) == COUNTS[name] and len(coco.anns) > 2 * COUNTS[name]
    for index, image in enumerate(coco.loadImgs(sorted(coco.imgs))):
        scene = make_scene(SEED, name, index, SIZE)
        pixels = cv2.imread(str(root / 'coco' / f'{name}2017' / image['file_name']))
        assert (pixels == scene.image).all() and pixels.shape[:2] == (image['height'], image['width'])
        annotations = coco.loadAnns(coco.getAnnIds(image['id']))
        masks = [coco.annToMask(annotation).astype(bool) for annotation in annotations]
        assert [annotation['category_id'] - 1 for annotation in annotations] == list(scene.labels)
        assert np.sum(masks, axis=0).max(initial=0) <= 1, 'visible masks overlap'
        for number, (annotation, mask) in enumerate(zip(annotations, masks, strict=True), 1):
            assert (mask == (scene.instances == number)).all()
            assert annotation['area'] == np.count_nonzero(mask) and annotation['iscrowd'] == 0
            assert annotation['bbox'] == list(cv2.boundingRect(mask.astype(np.uint8)))


def test_label_maps_agree_with_the_instances(split, root):
    name, coco = split
    found = set()
    for image in coco.imgs.values():
        images, labels = (root / 'ade' / kind / ADE[name] / image['file_name'] for kind in ('images', 'annotations'))
        assert images.read_bytes() == (root / f'coco/{name}2017' / image['file_name']).read_bytes()
        expected = np.ones((image['height'], image['width']), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(image['id'])):
            expected[coco.annToMask(annotation) == 1] = 1 + annotation['category_id']
        label_map = cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)
        assert label_map.dtype == np.uint8 and (label_map == expected).all()
        found |= {*np.unique(label_map).tolist()}
    assert found == set(range(1, 2 + len(CLASSES)))


def test_the_toolboxes_read_it(root):
    """mmdet gets the visible masks; mmseg classes from 0 on, nothing ignored; by the base configs' transforms."""
    from mmdet.datasets import CocoDataset
    from mmseg.datasets import BaseSegDataset  # ADE20KDataset takes no classes but its own

    palette = [*map(list, PALETTE)]
    instances = dict(
        data_root=str(root / 'coco'),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        metainfo=dict(classes=CLASSES, palette=palette),
    )
    segments = dict(
        data_root=str(root / 'ade'),
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        metainfo=dict(classes=('background', *CLASSES), palette=[[0, 0, 0], *palette]),
        img_suffix='.png',
        reduce_zero_label=True,
    )
    assert not errors(check_dataset(dict(type='CocoDataset', **instances)))
    assert not errors(check_dataset(dict(type='BaseSegDataset', **segments)))

    load = dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True)
    detection = CocoDataset(**instances, pipeline=[dict(type='mmdet.LoadImageFromFile'), load])
    load = dict(type='mmseg.LoadAnnotations', reduce_zero_label=True)
    segmentation = BaseSegDataset(**segments, pipeline=[dict(type='mmseg.LoadImageFromFile'), load])
    assert len(detection) == len(segmentation) == COUNTS['train']
    for index in (0, 5, 9):
        scene = make_scene(SEED, 'train', index, SIZE)
        sample = detection[index]
        assert (sample['img'] == scene.image).all()
        assert sample['gt_bboxes_labels'].tolist() == list(scene.labels)
        assert (sample['gt_masks'].masks.astype(bool) == scene.masks()).all()
        expected = np.zeros(scene.instances.shape, np.uint8)
        for label, mask in zip(scene.labels, scene.masks(), strict=True):
            expected[mask] = 1 + label
        assert (segmentation[index]['gt_seg_map'] == expected).all()


# ---- the command, and what can go wrong


def test_command(tmp_path):
    arguments = ('deep/shapes', '--images', 5, '--size', 64, '--seed', 1)
    assert '5 scenes made' in run('make_shapes', *arguments, cwd=tmp_path)
    out = tmp_path / 'deep' / 'shapes'
    assert sorted(path.name for path in out.parent.iterdir()) == ['shapes']
    assert len([*out.glob('coco/**/*.png'), *out.glob('ade/**/*.png')]) == 15
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}

    assert 'nothing to do' in run('make_shapes', *arguments, cwd=tmp_path)
    said = run('make_shapes', 'deep/shapes', '--images', 6, '--size', 64, cwd=tmp_path, status=1)
    assert "'images': 5" in said and "'images': 6" in said and 'choose another folder' in said
    assert 'Traceback' not in said
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_leaves_nothing(tmp_path, number):
    command = [sys.executable, str(REPO / 'tools/make_shapes.py'), 'shapes', '--images', '100000']
    env = dict(os.environ, PYTHONPATH=str(REPO))
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not [*tmp_path.rglob('*.png')] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [*tmp_path.rglob('*.png')] and not (tmp_path / 'shapes').exists()
    process.send_signal(number)
    assert 'was not made' in process.communicate(timeout=60)[1]
    assert process.returncode == 130 and not [*tmp_path.iterdir()]


def test_an_empty_folder_is_filled(tmp_path):
    assert make_dataset(tmp_path, 2, 64)
    assert not make_dataset(tmp_path, 2, 64)


def test_a_link_is_followed(tmp_path):
    (tmp_path / 'link').symlink_to('elsewhere/shapes')
    assert make_dataset(tmp_path / 'link', 2, 64) and not make_dataset(tmp_path / 'link', 2, 64)
    assert (tmp_path / 'link').is_symlink() and (tmp_path / 'elsewhere/shapes/shapes.json').is_file()


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='is no shapes data set'):
        make_dataset(tmp_path, 2, 64)
    assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']


def test_lost_files_are_noticed(tmp_path):
    make_dataset(tmp_path / 'shapes', 2, 64)
    lost = tmp_path / 'shapes/ade/annotations/validation/000000000001.png'
    lost.unlink()
    with pytest.raises(FileExistsError, match=f'lacks 1 of its files, first {lost}'):
        make_dataset(tmp_path / 'shapes', 2, 64)


def test_another_version_is_not_taken_for_this_one(tmp_path):
    make_dataset(tmp_path / 'shapes', 2, 64)
    record = tmp_path / 'shapes/shapes.json'
    record.write_text(json.dumps({**json.loads(record.read_text()), 'version': 0}))
    with pytest.raises(FileExistsError, match="'version': 0"):
        make_dataset(tmp_path / 'shapes', 2, 64)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(images=1), 'images must be 2 or more .* but got 1'),
        (dict(size=60), 'size must be a multiple of 4 and at least 64 pixels, but got 60'),
        (dict(size=130), 'size must be a multiple of 4 .* but got 130'),
        (dict(seed=-1), 'seed must be 0 or more, but got -1'),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_dataset(tmp_path / 'shapes', **arguments)
    assert not [*tmp_path.iterdir()]
    if 'images' not in arguments:
        with pytest.raises(ValueError, match=message):
            make_scene(**{**dict(seed=0, split='train', index=0), **arguments})


def test_wrong_split():
    with pytest.raises(ValueError, match="split must be one of .*, but got 'test'"):
        make_scene(0, 'test', 0)


def test_objects_by_themselves(root):
    """Each picture is a part of its scene around the box that the annotations give, under the name of its class."""
    for split, folder in (('train', 'train2017'), ('val', 'val2017')):
        content = json.loads((root / f'coco/annotations/instances_{folder}.json').read_text())
        names = {category['id']: category['name'] for category in content['categories']}
        found = {path.stem: path for path in (root / 'imagenet' / split).rglob('*.png')}
        assert len(found) == len(content['annotations']) > 0
        numbers = {}
        for annotation in content['annotations']:
            image = annotation['image_id']
            numbers[image] = numbers.get(image, 0) + 1
            path = found[f'{image:012d}_{numbers[image]}']
            assert path.parent.name == names[annotation['category_id']]
            crop, scene = cv2.imread(str(path)), cv2.imread(str(root / f'coco/{folder}/{image:012d}.png'))
            left, top, width, height = annotation['bbox']
            box = scene[top : top + height, left : left + width]
            assert cv2.matchTemplate(crop, box, cv2.TM_SQDIFF_NORMED).min() < 1e-6
            assert max(crop.shape) <= 1.2 * max(width, height) + 2
