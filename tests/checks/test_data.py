"""Data sets that are missing, half unpacked, broken, or not the one they should be."""

import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import ConfigDict

from mmiformer.checks.data import check_dataset
from mmiformer.checks.findings import errors
from mmiformer.datasets.shapes import make_dataset
from mmiformer.engine.config import read_config

CONFIGS = Path(__file__).parents[2] / 'configs'
CLASSES = ('cat', 'dog', 'horse')


def write(path, content=''):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def picture(path, value=0):
    """A gray picture of the size that make_coco and make_ade give all of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((40, 60), value, np.uint8))


def make_coco(root, number=6, categories=CLASSES, ann_file='annotations/instances_train2017.json', folder='train2017'):
    """A data set in COCO's layout."""
    names = [f'{i:012d}.jpg' for i in range(number)]
    for name in names:
        picture(root / folder / name)
    content = dict(
        info=dict(description='made by a test'),
        images=[dict(id=i, file_name=name, height=40, width=60) for i, name in enumerate(names)],
        annotations=[dict(id=1, image_id=0, category_id=1, bbox=[1, 2, 3, 4], area=12, iscrowd=0)],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(categories)],
    )
    write(root / ann_file, json.dumps(content))
    return ConfigDict(
        type='CocoDataset',
        data_root=str(root),
        ann_file=ann_file,
        data_prefix=dict(img=f'{folder}/'),
        metainfo=dict(classes=tuple(categories)),
    )


def make_ade(root, number=4):
    for i in range(number):
        picture(root / f'images/training/ADE_train_{i:08d}.jpg')
        picture(root / f'annotations/training/ADE_train_{i:08d}.png', i)
    return ConfigDict(
        type='ADE20KDataset',
        data_root=str(root),
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
    )


def message(config):
    wrong = errors(check_dataset(config))
    assert wrong
    return '\n'.join(f'{finding.what}\n{finding.fix}' for finding in wrong)


def test_a_training_file_without_annotations(tmp_path):
    config = make_coco(tmp_path)
    config.update(filter_cfg=dict(filter_empty_gt=False), pipeline=[dict(type='LoadAnnotations', with_bbox=True)])
    where = 'train_dataloader.dataset'
    assert not errors(check_dataset(config, where))
    file = Path(config.data_root, config.ann_file)
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(annotations=[])))
    (wrong,) = errors(check_dataset(config, where))
    assert 'has no annotations' in wrong.what
    assert not errors(check_dataset(config, f'{where}.datasets.1'))  # images of nothing, beside others
    config.pipeline = []  # unlabeled images
    assert not errors(check_dataset(config, where))


def check(config):
    """Nothing is wrong."""
    assert not errors(check_dataset(config))


# ------------------------------------------------------------------------------------------------------------ COCO


def official(config):
    """The config without metainfo and with COCO's file names: COCO itself."""
    del config['metainfo']
    return config


@pytest.mark.parametrize('slash', ['', '/'])
def test_whole_coco(tmp_path, slash):
    config = make_coco(tmp_path / 'coco')
    config.data_root += slash
    check(config)
    check(dict(type='mmdet.RepeatDataset', times=2, dataset=config))
    check(dict(type='ConcatDataset', datasets=[config, config]))


def test_prefixes_and_files_may_be_absolute(tmp_path):
    config = make_coco(tmp_path / 'coco')
    config.ann_file = str(tmp_path / 'coco' / config.ann_file)
    config.data_prefix.img = str(tmp_path / 'coco' / 'train2017')
    del config['data_root']
    check(config)


def test_type_may_be_the_class_itself(tmp_path):
    config = make_coco(tmp_path)
    shutil.rmtree(tmp_path / 'train2017')
    config.type = type('CocoDataset', (), {})
    assert 'image folder is missing' in message(config)


def test_missing_coco_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'data/coco2017/x')
    config = official(make_coco(tmp_path / 'elsewhere'))
    config.data_root = 'data/coco/'
    text = message(config)
    assert f'annotation file is missing: {tmp_path}/data/coco/annotations/instances_train2017.json' in text
    assert f'{tmp_path}/data is there and holds coco2017.' in text  # a typo shows
    assert 'python tools/prepare_data.py coco data/coco/' in text
    assert 'COCO_ROOT=' in text and '--data-root' in text


@pytest.mark.parametrize('root, found', [('.', 'coco'), ('coco/train2017', 'coco')])
def test_root_one_folder_off(tmp_path, root, found):
    config = official(make_coco(tmp_path / 'coco'))
    config.data_root = str(tmp_path / root)
    assert f'It is in {tmp_path / found}: use that, COCO_ROOT={tmp_path / found}' in message(config)


def test_own_data_is_not_told_to_download_coco(tmp_path):
    config = make_coco(tmp_path, ann_file='train.json')
    (tmp_path / 'train.json').unlink()
    text = message(config)
    assert f'annotation file is missing: {tmp_path}/train.json' in text
    assert 'prepare_data' not in text and f"data_root='{tmp_path}'" in text


@pytest.mark.parametrize('task', ['mask_rcnn', 'sem_fpn'])
def test_the_embedded_data_set_can_be_drawn(tmp_path, monkeypatch, task):
    config = read_config(CONFIGS / task / 'iformer_t_shapes.py').train_dataloader.dataset
    monkeypatch.chdir(tmp_path)
    assert 'python tools/make_shapes.py data/shapes\n' in message(config) and 'SHAPES_ROOT=' in message(config)
    make_dataset('drawn', 2, 64)
    folder = config.data_root.rstrip('/').rsplit('/', 1)[1]
    config.data_root = 'drawn'
    assert f'It is in {tmp_path}/drawn/{folder}: use that, --data-root {tmp_path}/drawn/{folder}.' in message(config)
    config.data_root = f'drawn/{folder}'
    check(config)


@pytest.mark.parametrize('content', ['', '{"images": [{"file_na', 'version https://git-lfs', '[]', '{"images": []}'])
def test_broken_annotation_file(tmp_path, content):
    config = official(make_coco(tmp_path))
    write(tmp_path / config.ann_file, content)
    text = message(config)
    assert re.search('is empty|is not whole JSON|is not in COCO', text)
    assert str(tmp_path / config.ann_file) in text and 'prepare_data.py coco' in text


def test_annotation_file_cut_anywhere(tmp_path):
    config = make_coco(tmp_path)
    whole = (tmp_path / config.ann_file).read_text()
    for length in range(len(whole)):
        write(tmp_path / config.ann_file, whole[:length])
        message(config)


def test_files_are_read_as_the_toolbox_reads_them(tmp_path):
    """Python's JSON takes what orjson does not, and refuses other files."""
    config = make_coco(tmp_path)
    path = tmp_path / config.ann_file
    text = path.read_text()
    write(path, text.replace('"area": 12', '"area": 12, "score": NaN, "serial": 123456789012345678901234567890'))
    check(config)
    path.write_bytes(b'\xef\xbb\xbf' + text.encode())
    with pytest.raises(ValueError):
        json.load(path.open())
    assert 'is not whole JSON' in message(config) and 'in UTF-8' in message(config)


def test_missing_images_are_counted(tmp_path):
    config = official(make_coco(tmp_path))
    (tmp_path / 'train2017/000000000002.jpg').unlink()
    (tmp_path / 'train2017/000000000004.jpg').unlink()
    text = message(config)
    assert '2 of the 6 images' in text and 'first of them 000000000002.jpg' in text and 'holds 4 files' in text
    for image in (tmp_path / 'train2017').iterdir():
        image.unlink()
    assert 'The folder is empty' in message(config)
    (tmp_path / 'train2017').rmdir()
    text = message(config)
    assert f'image folder is missing: {tmp_path}/train2017' in text and 'holds annotations' in text


def test_images_in_subfolders(tmp_path):
    config = make_coco(tmp_path)
    content = json.loads((tmp_path / config.ann_file).read_text())
    for number, image in enumerate(content['images']):
        name = f'city{number % 2}/{image["file_name"]}'
        picture(tmp_path / 'train2017' / name)
        image['file_name'] = name
    write(tmp_path / config.ann_file, json.dumps(content))
    check(config)
    (tmp_path / 'train2017/city1/000000000003.jpg').unlink()
    assert 'first of them city1/000000000003.jpg' in message(config)


def test_training_needs_annotations(tmp_path):
    config = make_coco(tmp_path)
    content = json.loads((tmp_path / config.ann_file).read_text())
    del content['annotations']
    write(tmp_path / config.ann_file, json.dumps(content))
    assert 'has no annotations, only 6 images' in message(config)
    check(dict(config, test_mode=True))
    check(dict(config, filter_cfg=dict(filter_empty_gt=False)))  # unlabeled images, for semi-supervised training


@pytest.mark.parametrize('missing', ['ann_file', 'data_prefix'])
def test_coco_needs_both_paths(tmp_path, missing):
    config = make_coco(tmp_path)
    del config[missing]
    assert 'needs ann_file and data_prefix=dict(img=...)' in message(config)


def test_a_subset_of_the_categories_is_fine(tmp_path):
    check(dict(make_coco(tmp_path), metainfo=dict(classes=['cat', 'horse'])))
    write(tmp_path / 'classes.txt', 'cat\nhorse\n')
    check(dict(make_coco(tmp_path), metainfo=dict(classes=str(tmp_path / 'classes.txt'))))


@pytest.mark.parametrize(
    'classes, categories, what',
    [
        (('kitten', 'dog'), CLASSES, '1 of the 2 classes are no category of the annotation file: kitten'),
        (('dog', 'cat'), CLASSES, 'in another order'),
        (('cat', 'dog'), ('cat', 'dog', 'cat'), 'appear twice, as class or as category: cat'),
        (('cat', 'dog', 'dog'), CLASSES, 'appear twice, as class or as category: dog'),
    ],
)
def test_classes_that_do_not_fit(tmp_path, classes, categories, what):
    text = message(dict(make_coco(tmp_path, categories=categories), metainfo=dict(classes=classes)))
    assert what in text
    assert ', '.join(classes) in text and ', '.join(categories) in text and 'num_classes' in text


def test_advice_on_the_order_of_classes(tmp_path):
    """A validation file in another order than the training file: no step of the advice changes what labels mean."""
    train = make_coco(tmp_path, ann_file='train.json')
    path = tmp_path / make_coco(tmp_path, categories=CLASSES[::-1], ann_file='val.json').ann_file
    text = message(dict(train, ann_file='val.json'))
    for place in ('training', 'validation', 'test data', 'evaluators', 'metainfo', 'checkpoint', 'train again'):
        assert place in text
    assert 'reorder its `categories` and keep their ids' in text
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(content, categories=content['categories'][::-1])))
    check(dict(train, ann_file='val.json'))


def test_one_class_without_its_comma(tmp_path):
    assert "classes=('cat',)" in message(dict(make_coco(tmp_path), metainfo=dict(classes='cat')))


def test_classes_of_mmdet_are_the_default(tmp_path):
    from mmdet.datasets import CocoDataset

    config = official(make_coco(tmp_path, ann_file='train.json'))
    assert '77 of the 80 classes are no category' in message(config)
    config = official(make_coco(tmp_path, categories=CocoDataset.METAINFO['classes']))
    check(config)


def test_mmdet_numbers_labels_as_the_check_supposes(tmp_path):
    """What the errors about order and duplicates prevent really happens in mmdet."""
    from mmdet.datasets import CocoDataset

    make_coco(tmp_path)
    common = dict(ann_file=str(tmp_path / 'annotations/instances_train2017.json'), data_prefix=dict(img=str(tmp_path)))
    dataset = CocoDataset(**common, metainfo=dict(classes=('dog', 'cat')))
    assert dataset.cat2label == {1: 0, 2: 1}  # label 0 is the cat, which the config calls dog
    dataset = CocoDataset(**common, metainfo=dict(classes=('kitten', 'dog')))
    assert dataset.cat2label == {2: 0}  # label 0 is the dog, which the config calls kitten


def test_only_a_sample_of_the_images_is_opened(tmp_path, monkeypatch):
    """What keeps COCO's 118287 images quick: as many system calls for 500 images as for 250."""
    calls = {}
    for number in (250, 500):
        config = make_coco(tmp_path / str(number), number=number)
        counter = calls[number] = []
        with monkeypatch.context() as patch:
            for name in ('stat', 'lstat', 'listdir', 'scandir'):
                real = getattr(os, name)
                patch.setattr(os, name, lambda *args, real=real, c=counter, **kw: c.append(args) or real(*args, **kw))
            check(config)
    assert 200 < len(calls[250]) == len(calls[500]) < 500


# --------------------------------------------------------------------------------------------------------- ADE20K


def test_whole_ade20k(tmp_path):
    config = make_ade(tmp_path)
    check(config)
    write(tmp_path / 'images/training/Thumbs.db')
    check(config)
    check(dict(config, data_prefix=dict(img_path='images/training')))  # a test set has no labels


def test_missing_ade20k_says_where_to_get_it(tmp_path):
    config = make_ade(tmp_path / 'there')
    config.data_root = str(tmp_path / 'ADEChallengeData2016')
    text = message(config)
    assert f'image folder is missing: {tmp_path}/ADEChallengeData2016/images/training' in text
    assert f'prepare_data.py ade20k {tmp_path}/ADEChallengeData2016' in text
    assert 'ADE_ROOT=' in text and '--data-root' in text


def test_ade20k_root_one_folder_off(tmp_path):
    config = make_ade(tmp_path / 'ADEChallengeData2016')
    config.data_root = str(tmp_path)
    assert f'It is in {tmp_path}/ADEChallengeData2016: use that, ADE_ROOT=' in message(config)


def test_half_unpacked_ade20k(tmp_path):
    config = make_ade(tmp_path)
    (tmp_path / 'annotations/training/ADE_train_00000002.png').unlink()
    text = message(config)
    assert f'4 images in {tmp_path}/images/training and 3 labels in {tmp_path}/annotations/training' in text
    assert '1 images have no label, the first ADE_train_00000002' in text
    (tmp_path / 'images/training/ADE_train_00000000.jpg').unlink()
    (tmp_path / 'images/training/ADE_train_00000001.jpg').unlink()
    assert '2 labels have no image, the first ADE_train_00000000' in message(config)
    shutil.rmtree(tmp_path / 'annotations')
    assert 'label folder is missing' in message(config)


def test_empty_folder_and_wrong_suffix(tmp_path):
    config = make_ade(tmp_path, number=1)
    image = tmp_path / 'images/training/ADE_train_00000000.jpg'
    image.rename(image.with_suffix('.JPEG'))
    assert 'none of its files ends in .jpg (one is ADE_train_00000000.JPEG)' in message(config)
    check(dict(config, img_suffix='.JPEG'))
    image.with_suffix('.JPEG').unlink()
    assert 'it is empty' in message(config)


def test_links_are_followed(tmp_path):
    """mmseg follows them, in the folder and to it."""
    make_ade(tmp_path / 'disk')
    for kind in ('images', 'annotations'):
        (tmp_path / 'ade' / kind / 'training').mkdir(parents=True)
        (tmp_path / 'ade' / kind / 'training' / 'city').symlink_to(tmp_path / 'disk' / kind / 'training')
    config = dict(make_ade(tmp_path / 'unused'), data_root=str(tmp_path / 'ade'))
    check(config)
    (tmp_path / 'disk/annotations/training/ADE_train_00000002.png').unlink()
    assert '1 images have no label, the first city/ADE_train_00000002' in message(config)


def test_list_of_names(tmp_path):
    config = make_ade(tmp_path)
    config.ann_file = 'split.txt'
    assert 'list of names (ann_file) is missing' in message(config)
    write(tmp_path / 'split.txt', 'ADE_train_00000001\nADE_train_00000003\n')
    (tmp_path / 'images/training/ADE_train_00000000.jpg').unlink()  # not on the list
    check(config)
    (tmp_path / 'annotations/training/ADE_train_00000003.png').unlink()
    assert '1 of the 2 names' in message(config)


SCENE = 'training/nature_landscape/beach/ADE_train_00003225'


@pytest.mark.parametrize(
    'files',
    [
        # the release of 2021: a folder in the root, the root itself, with and without its index
        ['ade/ADE20K_2021_17_01/index_ade20k.pkl', f'ade/ADE20K_2021_17_01/images/ADE/{SCENE}.jpg'],
        ['ade/index_ade20k.pkl', f'ade/images/ADE/{SCENE}.jpg'],
        [f'ade/images/ADE/{SCENE}.jpg'],
        # the release of 2016
        [
            'ade/images/training/a/abbey/ADE_train_00000970.jpg',
            'ade/images/training/a/abbey/ADE_train_00000970_seg.png',
        ],
        # beside the folder that is looked for
        [f'ADE20K_2021_17_01/images/ADE/{SCENE}.jpg'],
    ],
)
def test_the_full_ade20k_is_recognized(tmp_path, files):
    for file in files:
        write(tmp_path / file)
    prefix = dict(img_path='images/training', seg_map_path='annotations/training')
    text = message(dict(type='ADE20KDataset', data_root=str(tmp_path / 'ade'), data_prefix=prefix))
    assert 'full ADE20K' in text and 'ADEChallengeData2016' in text and 'prepare_data.py ade20k' in text


# ------------------------------------------------------------------------------------------------------------ others


def test_other_types_only_need_their_paths(tmp_path):
    config = dict(
        type='DSDLSegDataset', data_root=str(tmp_path), data_prefix=dict(img_path='left', seg_map_path='labels')
    )
    (tmp_path / 'left').mkdir()
    text = message(config)
    assert f'data_prefix.seg_map_path of DSDLSegDataset is missing: {tmp_path}/labels' in text
    (tmp_path / 'labels').mkdir()
    check(config)
    assert 'ann_file of X is missing' in message(dict(type='X', data_root=str(tmp_path), ann_file='a.json'))


def test_semantic_data_sets_of_mmdet_only_need_their_paths(tmp_path):
    config = dict(make_ade(tmp_path), type='mmdet.ADE20KSegDataset')
    (finding,) = check_dataset(config)
    assert finding.level == 'note' and 'only the paths' in finding.what


def test_remote_data_is_left_alone():
    config = dict(type='CocoDataset', ann_file='a.json', data_prefix=dict(img='train/'))
    check(dict(config, data_root='s3://bucket/coco'))
    check(dict(config, data_root='coco', backend_args=dict(backend='petrel')))


@pytest.mark.parametrize('wrong', [None, 'data/coco', ['CocoDataset']])
def test_not_a_config(wrong):
    assert 'must be the config of a data set' in message(wrong)
