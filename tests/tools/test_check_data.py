"""Wrong data through the tools: check_data.py lists all of it, train.py and test.py stop before anything is built."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from PIL import Image

from mmiformer.checks.data import check_data
from mmiformer.checks.findings import errors
from mmiformer.engine.config import open_config
from mmiformer.engine.runner import WholeRunner

from .command import REPO
from .in_process import call
from .made_data import make_ade, make_coco
from .test_dist import ON_CPU, launch

MASK_RCNN = REPO / 'configs/mask_rcnn/iformer_t_1x.py'
SEM_FPN = REPO / 'configs/sem_fpn/iformer_t_40k.py'


@pytest.fixture
def coco(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_coco(tmp_path / 'coco', list(CocoDataset.METAINFO['classes']), train=6)


@pytest.fixture
def ade(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_ade(tmp_path / 'ade', train=6)


def spoil(root, change, split='train'):
    """Change the content of an annotation file."""
    path = root / f'annotations/instances_{split}2017.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def turn(path):
    """Write an EXIF orientation into a JPEG: upside down."""
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(path).save(path, exif=exif, quality=95)


def listed(folder):
    return json.loads((folder / 'check_data.json').read_text())


def test_good_data(coco, ade, tmp_path, monkeypatch, capsys):
    assert call(monkeypatch, 'check_data', MASK_RCNN, '--data-root', coco, '--workers', 2) is None
    content = listed(tmp_path / 'work_dirs/iformer_t_1x')
    assert content['images'] == {'train_dataloader.dataset': 6, 'val_dataloader.dataset': 3}
    assert [finding['level'] for finding in content['findings']] == ['note'] * 2  # crowds, and classes without a box
    assert call(monkeypatch, 'check_data', SEM_FPN, '--data-root', ade, '--out', 'out', '--workers', 1) is None
    assert listed(tmp_path / 'out')['findings'] == []
    assert 'nothing to tell' in capsys.readouterr().out


def test_a_spoiled_coco(coco, tmp_path, monkeypatch, capsys):
    images = sorted((coco / 'train2017').iterdir())
    images[0].write_bytes(b'')
    images[1].write_bytes(images[1].read_bytes()[:900])
    cv2.imwrite(str(images[2]), np.zeros((30, 40, 3), np.uint8))
    turn(images[3])
    Image.open(images[4]).convert('L').save(images[4])

    def change(content):
        first, second, third, fourth = content['annotations'][:4]
        first['category_id'], second['image_id'] = 999, 999
        third.pop('segmentation'), fourth.pop('area')
        content['annotations'][5]['id'] = content['annotations'][4]['id']
        content['annotations'][6]['segmentation'] = [[2, 2, 5, 5, 9, 9]]
        content['images'].append(dict(content['images'][0], id=77))

    images[5].unlink()
    spoil(coco, change)
    assert call(monkeypatch, 'check_data', MASK_RCNN, '--data-root', coco, '--out', 'out') == 3
    printed = capsys.readouterr().out
    findings = [one for one in listed(tmp_path / 'out')['findings'] if one['where'] == 'train_dataloader.dataset']
    for level, text, files in (
        ('error', 'no category has the category_id of 1 of 24 annotations', []),
        ('error', 'no image has the image_id of 1 of 24 annotations', []),
        ('error', '1 ids of annotations are there more than once', []),
        ('error', '1 of 24 annotations (id 3) have no `segmentation`', []),
        ('error', '1 of 24 annotations (id 4) have no `area`', []),
        ('error', '1 of the 7 images that', [5]),
        ('error', '2 of 6 images cannot be read', [0, 1]),
        ('error', '1 of 6 images are not of the size that', [2]),
        ('warning', '1 of 6 images have an EXIF orientation', [3]),
        ('warning', '1 images name a file that another one names, too', []),
        ('error', '1 of 24 annotations (id 7) in 1 images have no polygon with an area', None),
        ('note', '1 of 6 images are gray', None),
    ):
        (finding,) = [one for one in findings if text in one['what']]
        assert finding['level'] == level and text in printed
        if files is not None:
            assert [file.rsplit('/')[-1] for file in finding['files']] == [images[index].name for index in files]


def test_a_spoiled_ade20k(ade, tmp_path, monkeypatch):
    labels = sorted((ade / 'annotations/training').iterdir())
    labels[0].write_bytes(b'')
    Image.open(labels[1]).convert('RGB').save(labels[1])
    label = np.array(Image.open(labels[2]))
    Image.fromarray(label[::2, ::2]).save(labels[2])
    Image.fromarray(np.full_like(np.array(Image.open(labels[3])), 200)).save(labels[3])
    labels[4].unlink()
    assert call(monkeypatch, 'check_data', SEM_FPN, '--data-root', ade, '--out', 'out') == 3
    found = {one['what']: one['files'] for one in listed(tmp_path / 'out')['findings'] if one['level'] == 'error'}
    for text, index in (
        ('1 of 5 label maps cannot be read', 0),
        ('1 of 5 label maps do not have one channel', 1),
        ('1 of 5 images are not of the size that', 2),
        ('1 of 5 label maps hold numbers of no class, 200', 3),
    ):
        ((what, files),) = [item for item in found.items() if text in item[0]]
        assert [file.rsplit('/', 1)[1].split('.')[0] for file in files] == [labels[index].stem], what
    assert len(found) == 5 and any('1 images have no label' in what for what in found)


def test_everything_is_looked_at_where_a_run_takes_a_sample(coco, tmp_path, monkeypatch):
    """A sample of one image does not have the broken one."""
    monkeypatch.setattr('mmiformer.checks.reading.SAMPLE', 1)
    (coco / 'train2017/000000000006.jpg').write_bytes(b'')
    assert not errors(check_data(open_config(MASK_RCNN, coco)))
    assert call(monkeypatch, 'check_data', MASK_RCNN, '--data-root', coco) == 3


def test_wrong_calls(coco, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    assert '--out file is a file' in call(monkeypatch, 'check_data', MASK_RCNN, '--out', 'file')
    assert '--workers 0: give a number from 1' in call(monkeypatch, 'check_data', MASK_RCNN, '--workers', 0)
    assert 'there is no config nowhere.py' in call(monkeypatch, 'check_data', 'nowhere.py')
    assert call(monkeypatch, 'check_data', MASK_RCNN, '--unknown') == 2
    assert call(monkeypatch, 'check_data', MASK_RCNN, '--data-root', tmp_path / 'nowhere') == 3

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('mmiformer.checks.data.check_data', stop)
    assert call(monkeypatch, 'check_data', MASK_RCNN, '--data-root', coco) == 130


# ---- training and testing


def test_a_few_broken_samples_do_not_stop_a_training(coco, monkeypatch, caplog):
    """What is missing and what cannot be read, if the limit allows it; the figures need all of the rest."""
    images = sorted((coco / 'train2017').iterdir())
    images[0].unlink(), images[1].write_bytes(b'')
    started = []
    monkeypatch.setattr(WholeRunner, '__init__', lambda *args, **options: started.append(1))
    monkeypatch.setattr(WholeRunner, 'train', lambda self: None)
    monkeypatch.setattr(WholeRunner, 'number_of_broken', 0)
    command = ('train', MASK_RCNN, '--no-pretrained', '--data-root', coco)
    stopped = call(monkeypatch, *command)
    assert '1 of the 6 images that' in stopped and '1 of 5 images cannot be read' in stopped and not started
    assert 'does without up to 0.01 of its samples: default_hooks.broken_data.limit' in stopped
    tolerant = ('--cfg-options', 'default_hooks.broken_data.limit=0.5')
    assert call(monkeypatch, *command, *tolerant) is None and started
    (coco / 'val2017/000000000001.jpg').unlink()
    stopped = call(monkeypatch, *command, *tolerant)
    assert '1 of the 3 images that' in stopped and '1 of the 6' not in stopped
    assert 'broken_data.skip_in_evaluation=True' in stopped
    assert call(monkeypatch, *command, *tolerant, 'default_hooks.broken_data.skip_in_evaluation=True') is None


def counted_from_0(content):
    for number, category in enumerate(content['categories'], 1):
        category['id'] = number
    for annotation in content['annotations']:
        annotation['category_id'] = (annotation['category_id'] - 10) // 2


def without(key):
    def change(content):
        for item in content['images' if key == 'width' else 'annotations']:
            item.pop(key)

    return change


def second(**changes):
    return lambda content: content['annotations'][1].update(changes)


COCO = {
    'category ids one too low': (counted_from_0, 'category_id counts from 0 and the categories from 1'),
    'an unknown category': (second(category_id=999), 'no category has the category_id of 1 of 12 annotations'),
    'two images of one id': (lambda content: content['images'][1].update(id=1), '1 ids of images are there more than'),
    'two categories of one id': (
        lambda content: content['categories'][1].update(id=10),
        '1 ids of categories are there',
    ),
    'an annotation id twice': (second(id=1), '1 ids of annotations are there more than once: 1'),
    'no masks': (without('segmentation'), 'have no `segmentation`, and the config reads masks'),
    'a mask missing': (second(segmentation=[]), 'annotations (id 2) have no `segmentation`'),
    'a flat polygon': (second(segmentation=[2, 2, 9, 2, 9, 9]), 'neither polygons nor run lengths'),
    'no area': (without('area'), 'have no `area`'),
    'no width': (without('width'), 'images have no `width` and `height`'),
    'ids as text': (lambda content: [one.update(id=f'a{one["id"]}') for one in content['annotations']], 'are strings'),
}


@pytest.mark.parametrize('name', COCO)
def test_coco_is_refused_before_building(coco, monkeypatch, name):
    change, message = COCO[name]
    monkeypatch.setattr(WholeRunner, '__init__', None)
    spoil(coco, change, 'val')
    torch.save(dict(state_dict={}, meta={}), 'weights.pth')
    for tool, option in (('test', 'weights.pth'), ('train', '--no-pretrained')):
        stopped = call(monkeypatch, tool, MASK_RCNN, option, '--data-root', coco)
        assert stopped.startswith('error: ') and message in stopped


def test_all_errors_of_all_data_sets_are_in_one_message(coco, monkeypatch):
    spoil(coco, without('area'), 'train')
    spoil(coco, without('width'), 'val')
    (coco / 'train2017/000000000001.jpg').unlink()
    stopped = call(monkeypatch, 'train', MASK_RCNN, '--no-pretrained', '--data-root', coco)
    for text in ('1 of the 6 images that', 'have no `area`', 'images have no `width` and `height`', 'Write the area'):
        assert text in stopped


@pytest.mark.parametrize(('value', 'message'), [(151, 'of no class, 151'), ('RGB', 'one channel')])
def test_label_maps(ade, monkeypatch, value, message):
    for path in (ade / 'annotations/training').iterdir():
        label = np.array(Image.open(path))
        if value == 'RGB':
            Image.fromarray(label).convert('RGB').save(path)
        else:
            Image.fromarray(np.full_like(label, value)).save(path)
    stopped = call(monkeypatch, 'train', SEM_FPN, '--no-pretrained', '--data-root', ade)
    assert stopped.startswith('error: ') and message in stopped


def test_orientations_are_said_in_the_log(coco, tmp_path, monkeypatch, caplog):
    for path in (coco / 'train2017').iterdir():
        turn(path)
    assert call(monkeypatch, 'browse_dataset', MASK_RCNN, '--data-root', coco, '--number', 1) is None
    said = caplog.text
    caplog.clear()
    assert '6 of 6 images have an EXIF orientation' in said and "color_type='color_ignore_orientation'" in said
    options = ('--cfg-options', 'train_dataloader.dataset.pipeline.0.color_type=color_ignore_orientation')
    call(monkeypatch, 'browse_dataset', MASK_RCNN, '--data-root', coco, '--number', 1, '--overwrite', *options)
    assert 'EXIF' not in caplog.text


def test_several_processes_end_with_the_verdict_of_one(coco, tmp_path):
    spoil(coco, without('area'))
    options = ('--no-pretrained', '--data-root', coco, '--cfg-options', 'train_dataloader.num_workers=0', *ON_CPU)
    printed = launch('dist_train.sh', MASK_RCNN, 2, *options, cwd=tmp_path, status=1)
    assert 'error: train_dataloader.dataset: ' in printed and 'have no `area`' in printed
