"""Broken data: named and replaced in training, an error in evaluation."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmiformer.damage import begins_short, draws_area, encloses_area, is_cut
from mmiformer.datasets.shapes import make_dataset
from mmiformer.engine.broken import BrokenSample, check_samples
from mmiformer.engine.cli import exit_if_broken
from mmiformer.engine.config import import_toolbox, open_config
from mmiformer.engine.hooks import BrokenData
from mmiformer.engine.launch import LAUNCHERS, fit_to_cpu
from mmiformer.engine.runner import WholeRunner
from mmiformer.engine.runs import find_checkpoint, read_checkpoint, settle_run
from mmiformer.engine.stopping import Stopped
from mmiformer.errors import UserError

from ..helpers import differences
from ..tools.command import run
from .test_launch import free_port
from .test_resuming import DATA, SCENES, Interrupt, state, train


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('scenes')
    make_dataset(folder, 20, 64)
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def resize(path: Path) -> None:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), image[::2, ::2])


def of_no_class(path: Path) -> None:
    cv2.imwrite(str(path), np.full_like(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), 200))


IMAGES = {
    'it has 0 bytes': lambda path: path.write_bytes(b''),
    'it is cut off': truncate,
}
COCO = {
    'it is N x N, and annotated as N x N': resize,
    'No such file or directory': lambda path: path.unlink(),
}
LABELS = {
    'No such file or directory': lambda path: path.unlink(),
    'it is N x N, and its image N x N': resize,
    'it holds 200, which is no class': of_no_class,
    'its label map does not have one channel': lambda path: Image.open(path).convert('RGB').save(path),
}


def spoil(root: Path, split: str) -> dict[str, str]:
    """Spoil a data set in every way: {file: what is wrong with it}."""
    coco = root.name == 'coco'
    folder = root / (f'{split}2017' if coco else f'images/{split}')
    images = sorted(folder.iterdir())
    ways = [(path, *way) for path, way in zip(images, ({**IMAGES, **COCO} if coco else IMAGES).items(), strict=False)]
    if not coco:
        labels = [root / 'annotations' / split / path.with_suffix('.png').name for path in images[2:6]]
        ways += [(path, *way) for path, way in zip(labels, LABELS.items(), strict=True)]
    for path, _, change in ways:
        change(path)
    return {str(path): fault for path, fault, _ in ways}


@pytest.fixture(params=SCENES)
def spoiled(request, scenes, tmp_path) -> tuple[str, Path, dict[str, str]]:
    """The config, scenes whose training data is spoiled, and how."""
    folder = SCENES[request.param]
    shutil.copytree(scenes / folder, tmp_path / 'spoiled' / folder)
    broken = spoil(tmp_path / 'spoiled' / folder, 'train' if folder == 'coco' else 'training')
    return request.param, tmp_path / 'spoiled', broken


TOLERANT = {'default_hooks.broken_data.limit': 0.6}
SKIPPING = {'default_hooks.broken_data.skip_in_evaluation': True}


def test_broken_samples_are_named_once_and_replaced(spoiled, tmp_path, monkeypatch):
    """The same ones by the same, with workers or without, resumed or not."""
    name, root, broken = spoiled
    said = []
    monkeypatch.setattr(logging.Logger, 'warning', lambda self, text, *args, **options: said.append(text))
    whole = train(name, root, tmp_path / 'whole', **TOLERANT)
    named = [text.partition(' so far: ')[2] for text in said if text.startswith('broken and left out')]
    assert sorted(re.sub(r'\d+ x \d+', 'N x N', text) for text in named) == sorted(
        f'{path}: {fault}' for path, fault in broken.items()
    )
    with pytest.raises(Stopped):
        train(name, root, tmp_path / 'again', Interrupt(5), **TOLERANT, **{'train_dataloader.num_workers': 2})
    assert differences(state(train(name, root, tmp_path / 'again', **TOLERANT)), state(whole)) == []


def test_too_many_broken_samples_stop_a_run(spoiled, tmp_path):
    name, root, _ = spoiled
    with pytest.raises(
        UserError, match='^[1-4] of 1[0-9] samples of the training data are broken, more than .*limit=0.01'
    ):
        train(name, root, tmp_path / 'default')


def work_as_one_of_two(rank: int, port: int, folder: Path) -> None:
    """Train without and with workers, then with a limit that not both processes meet by themselves."""
    torch.set_num_threads(1)
    torch.version.cuda = None  # whichever torch it is, it runs on the CPU
    numbers = dict(zip(LAUNCHERS['pytorch'], (rank, 2, rank), strict=True), MASTER_PORT=port)
    os.environ.update({name: str(value) for name, value in numbers.items()}, MASTER_ADDR='127.0.0.1')
    for name, options in (
        ('alone', TOLERANT),
        ('workers', {**TOLERANT, 'train_dataloader.num_workers': 1}),
        ('strict', {'default_hooks.broken_data.limit': 0.1}),
    ):
        cfg = open_config(DATA / 'tiny_sem_fpn.py', folder / 'ade', {**options, 'train_cfg.val_interval': 99})
        cfg.work_dir, cfg.experiment_name = str(folder / name), f'{folder.name}_{name}'
        settle_run(cfg, 'pytorch', rank, seed=3)
        fit_to_cpu(cfg)  # joining does so only once
        runner = WholeRunner(cfg)
        try:
            runner.train()
        except UserError as error:
            (folder / f'{name}_{rank}').write_text(str(error))
        (folder / f'{name}_{rank}.json').write_text(json.dumps([*runner.broken_data.replaced]))
        DefaultScope._instance_dict.clear()
    torch.distributed.destroy_process_group()


def test_broken_samples_of_two_processes(scenes, tmp_path):
    """They are counted together, named once, and the limit ends both."""
    shutil.copytree(scenes / 'ade', tmp_path / 'ade')
    images = sorted((tmp_path / 'ade/images/training').iterdir())
    for path in images[:2]:
        truncate(path)
    torch.multiprocessing.spawn(work_as_one_of_two, (free_port(), tmp_path), nprocs=2)
    for name in ('alone', 'workers'):
        one, two = (json.loads((tmp_path / f'{name}_{rank}.json').read_text()) for rank in range(2))
        assert sorted(one) == sorted(two) == [f'{path}: it is cut off' for path in images[:2]]
        (log,) = (tmp_path / name).glob('*/*.log')
        assert log.read_text().count('broken and left out, ') == 2
    ends = [state(read_checkpoint(find_checkpoint('auto', tmp_path / name))) for name in ('alone', 'workers')]
    assert differences(*ends) == []
    one, two = ((tmp_path / f'strict_{rank}').read_text() for rank in range(2))
    assert one == two and re.match(f'2 of {len(images)} samples of the training data are broken, more than', one)


@pytest.mark.parametrize('workers', [0, 2])
def test_where_nothing_is_left_a_run_stops_at_once(scenes, workers, tmp_path):
    shutil.copytree(scenes / 'ade', tmp_path / 'ade')
    for path in (tmp_path / 'ade/images/training').iterdir():
        path.write_bytes(b'')
    options = {**TOLERANT, 'train_dataloader.num_workers': workers}
    with pytest.raises(UserError, match='^11 samples in a row are broken, the last one .*png: it has 0 bytes$'):
        train('tiny_sem_fpn', tmp_path, tmp_path / 'run', **options)


@pytest.mark.parametrize('name', SCENES)
def test_broken_data_is_an_error_in_evaluation(name, scenes, tmp_path):
    """Unless it may be left out: then the figures are those of the rest."""
    folder = SCENES[name]
    shutil.copytree(scenes / folder, tmp_path / folder)
    images = sorted((tmp_path / folder / ('val2017' if folder == 'coco' else 'images/validation')).iterdir())
    assert len(images) >= 4

    def evaluate(workers: int, root: Path, **options) -> dict:
        cfg = open_config(DATA / f'{name}.py', root, {'val_dataloader.num_workers': workers, **options})
        cfg.test_dataloader, cfg.randomness = cfg.val_dataloader, dict(seed=1)
        cfg.work_dir, cfg.log_level, cfg.custom_hooks = str(tmp_path / 'run'), 'ERROR', []
        cfg.experiment_name = f'{tmp_path.name}_{workers}_{len(options)}_{root.parent == tmp_path}'
        return WholeRunner(cfg).test()

    truncate(images[1])
    with pytest.raises(BrokenSample, match=rf'^{images[1]}: it is cut off\nA result without .*skip_in_evaluation'):
        evaluate(2, tmp_path / folder)
    figures = evaluate(0, tmp_path / folder, **SKIPPING)

    shutil.copytree(scenes / folder, tmp_path / 'rest' / folder)  # the same, without the image
    rest = tmp_path / 'rest' / folder
    (rest / images[1].relative_to(tmp_path / folder)).unlink()
    if folder == 'coco':
        (path,) = (rest / 'annotations').glob('*val2017.json')
        content = json.loads(path.read_text())
        (image,) = [one['id'] for one in content['images'] if one['file_name'] == images[1].name]
        content['images'] = [one for one in content['images'] if one['id'] != image]
        content['annotations'] = [one for one in content['annotations'] if one['image_id'] != image]
        path.write_text(json.dumps(content))
    assert figures == evaluate(0, rest) and figures


def test_the_exit_code_says_that_something_was_broken(scenes, tmp_path):
    """Of a training and of a test that are done; torchrun would take it for a failure."""
    shutil.copytree(scenes / 'ade', tmp_path / 'ade')
    for split in ('training', 'validation'):
        truncate(min((tmp_path / 'ade/images' / split).iterdir()))
    options = ['default_hooks.broken_data.limit=0.5', 'default_hooks.broken_data.skip_in_evaluation=True']
    options += ['train_cfg.max_iters=10', 'train_cfg.val_interval=20', 'default_hooks.checkpoint.interval=10']
    arguments = [DATA / 'tiny_sem_fpn.py', '--data-root', 'ade', '--work-dir', 'run', '--cfg-options', *options]
    said = run('train', *arguments, cwd=tmp_path, status=3)
    assert said.splitlines()[-1] == 'done, but 2 broken samples were left out or replaced: see the log'
    arguments = [arguments[0], 'run/iter_10.pth', *arguments[1:]]
    said = run('test', *arguments, cwd=tmp_path, status=3)
    assert 'mIoU' in said and said.splitlines()[-1].startswith('done, but 1 broken sample')
    with pytest.raises(SystemExit) as end:
        exit_if_broken(1, 'none')
    assert end.value.code == 3
    exit_if_broken(1, 'pytorch')
    exit_if_broken(0, 'none')


FLAT = {
    'a line': [[1, 1, 2, 2, 3, 3]],
    'two corners': [[1, 2, 3, 4]],
    'no number': [[2, 2, 12, 2, 12, 12, math.nan, 12]],  # the last ones would take all memory
    'far away': [[2, 2, 12, 2, 12, 12, 1e9, 12]],
    'farther than floats go': [[2, 2, 12, 2, 12, 12, 10**400, 12]],
    'one of two': [[2, 2, 12, 2, 12, 12], [2, 2, 12, 2, math.inf, 12]],
}


def spoil_masks(root: Path, split: str, masks: Iterable[list]) -> str:
    """Give an image annotations with masks; which image."""
    (path,) = (root / 'annotations').glob(f'*{split}2017.json')
    content = json.loads(path.read_text())
    first = content['annotations'][0]
    content['annotations'] += [
        {**first, 'id': 10**6 + number, 'segmentation': mask} for number, mask in enumerate(masks)
    ]
    path.write_text(json.dumps(content))
    (name,) = (image['file_name'] for image in content['images'] if image['id'] == first['image_id'])
    return str(root / f'{split}2017' / name)


def test_polygons_without_area(scenes, tmp_path, monkeypatch):
    """They are not learned from, and their image is no part of an evaluation."""
    shutil.copytree(scenes / 'coco', tmp_path / 'coco')
    learned, evaluated = (spoil_masks(tmp_path / 'coco', split, FLAT.values()) for split in ('train', 'val'))
    said = []
    monkeypatch.setattr(logging.Logger, 'warning', lambda self, text, *args, **options: said.append(text))
    options = {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1, **TOLERANT}
    with pytest.raises(BrokenSample, match=rf'^{evaluated}: an annotation has no polygon with an area\n'):
        train('tiny_mask_rcnn', tmp_path, tmp_path / 'strict', **options)
    (named,) = (text for text in said if text.startswith('broken'))
    assert named.endswith(f' so far: {learned}: an annotation has no polygon with an area')
    train('tiny_mask_rcnn', tmp_path, tmp_path / 'run', **options, **SKIPPING)
    assert f'broken and left out of the evaluation: {evaluated}: an annotation has no polygon with an area' in said
    with pytest.raises(
        UserError, match=f'^1 of 16 samples of the training data are broken.*: {learned}: an annotation'
    ):
        train('tiny_mask_rcnn', tmp_path, tmp_path / 'limit', **{**options, 'default_hooks.broken_data.limit': 0.05})


def test_a_short_polygon_first(scenes, tmp_path):
    """The toolbox leaves it out and learns from the others; pycocotools would take all of them for boxes."""
    shutil.copytree(scenes / 'coco', tmp_path / 'coco')
    mask = [[1, 2, 3, 4], [2, 2, 12, 2, 12, 12]]
    assert draws_area(mask) and begins_short(mask)
    spoil_masks(tmp_path / 'coco', 'train', [mask])
    evaluated = spoil_masks(tmp_path / 'coco', 'val', [mask])
    cfg = open_config(DATA / 'tiny_mask_rcnn.py', tmp_path / 'coco')
    import_toolbox(cfg)
    with DefaultScope.overwrite_default_scope('mmdet'):
        learning, evaluating = (DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'val'))
    check_samples(learning, frozenset())
    assert all(learning) and not learning.pipeline.left_out
    check_samples(evaluating, frozenset(), 'Restore it.')
    with pytest.raises(BrokenSample, match=f'^{evaluated}: an annotation begins with a polygon of fewer than three'):
        all(evaluating)


def test_repeating_the_data_does_not_raise_the_limit(scenes, tmp_path):
    shutil.copytree(scenes / 'ade', tmp_path / 'ade')
    truncate(min((tmp_path / 'ade/images/training').iterdir()))
    dataset = open_config(DATA / 'tiny_sem_fpn.py', tmp_path / 'ade').train_dataloader.dataset
    repeated = dict(type='RepeatDataset', times=10, dataset=dataset)
    with pytest.raises(UserError, match='^1 of 16 samples'):
        train(
            'tiny_sem_fpn',
            tmp_path,
            tmp_path / 'run',
            **{'train_dataloader.dataset': {**repeated, '_delete_': True}, 'default_hooks.broken_data.limit': 0.03},
        )


def test_turned_photos_are_whole(tmp_path):
    """OpenCV turns them as their EXIF orientation says; many are annotated as stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / 'photo.jpg', exif=exif)

    class Photo(BaseDataset):
        def load_data_list(self):
            return [dict(img_path=str(tmp_path / 'photo.jpg'), width=width, height=height) for width, height in sizes]

    sizes = (30, 20), (20, 30), (30, 30)
    dataset = Photo(pipeline=[dict(type='LoadImageFromFile')])
    check_samples(dataset, frozenset())
    assert dataset[0]['img'].shape == dataset[1]['img'].shape == (30, 20, 3)
    with pytest.raises(BrokenSample, match='it is 20 x 30, and annotated as 30 x 30'):
        dataset[2]


@pytest.mark.parametrize(
    ('polygon', 'area'),
    [
        ([0, 0, 1, 0, 0, 1], True),
        ([0, 0, 0, 0, 1, 0, 0, 1], True),
        ([0.1, 0.1, 0.2, 0.2, 0.3, 0.3], False),
        ([2, 2] * 5, False),
        ([0, 0, 1, 0, 0], False),
        ([0, 0, 9, 9], False),
        ([0, 0, 1, 0, '0', 1], False),
        ([], False),
    ],
)
def test_area(polygon, area):
    assert encloses_area(polygon) is area


@pytest.mark.parametrize('mask', FLAT.values(), ids=FLAT)
def test_masks_that_cannot_be_drawn(mask):
    assert not draws_area(mask)
    assert draws_area([[2, 2, 12, 2, 12, 12], [1, 2]])  # the toolbox leaves out the second
    assert draws_area([[2, 2, 60000, 2, 60000, 60000]])  # of a satellite


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp'])
def test_cut_files(suffix, tmp_path):
    path = tmp_path / f'image{suffix}'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    assert not is_cut(str(path))
    path.write_bytes(path.read_bytes() + b'\0' * 5000)  # some cameras append something
    assert not is_cut(str(path))
    if suffix != '.bmp':
        path.write_bytes(path.read_bytes()[:3000])
        assert is_cut(str(path))


def test_cut_after_the_thumbnail(tmp_path):
    """A JPEG's thumbnail is a whole JPEG in its head."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    small, large = (cv2.imencode('.jpg', one)[1].tobytes() for one in (pixels[::4, ::4], pixels))
    head = large[:2] + b'\xff\xe1' + (len(small) + 8).to_bytes(2, 'big') + b'Exif\0\0' + small
    path = tmp_path / 'photo.jpg'
    path.write_bytes(head + large[2:])
    assert not is_cut(str(path))
    path.write_bytes(head + large[2:2000])
    assert cv2.imread(str(path)) is not None and is_cut(str(path))


@pytest.mark.parametrize('loads', ['img_path', 'seg_map_path'])
def test_a_png_whose_end_is_zeros(loads, tmp_path):
    """As a crash of the system leaves it; Pillow raises a SyntaxError."""
    cv2.imwrite(str(tmp_path / 'good.png'), np.zeros((64, 64), np.uint8))
    cv2.imwrite(str(tmp_path / 'bad.png'), np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8))
    whole = (tmp_path / 'bad.png').read_bytes()
    (tmp_path / 'bad.png').write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    paths = dict.fromkeys(('img_path', 'seg_map_path'), str(tmp_path / 'good.png')) | {loads: str(tmp_path / 'bad.png')}

    class Pair(BaseDataset):
        def load_data_list(self):
            return [dict(paths, reduce_zero_label=False, label_map=None, seg_fields=[])]

    dataset = Pair(pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')])
    check_samples(dataset, frozenset())
    with pytest.raises(BrokenSample, match='bad.png: it is cut off'):
        dataset[0]


def test_limits():
    with pytest.raises(ValueError, match='limit=2'):
        BrokenData(2)


def test_the_toolbox_is_left_alone_where_asked(scenes, tmp_path):
    cfg = Config(dict(default_hooks=dict(broken_data=None)))
    assert cfg.default_hooks.broken_data is None
    shutil.copytree(scenes / 'ade', tmp_path / 'ade')
    for path in (tmp_path / 'ade/images/training').iterdir():
        path.write_bytes(b'')
    with pytest.raises(cv2.error):
        train('tiny_sem_fpn', tmp_path, tmp_path / 'run', **{'default_hooks.broken_data': None})
