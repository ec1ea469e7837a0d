"""What a metric evaluates by is what its data sets read."""

import json

import pytest
from mmengine.config import ConfigDict

from mmiformer.checks.dataset import data_configs
from mmiformer.checks.evaluator import check_evaluator

CLASSES = ('cat', 'dog', 'horse')
IMAGES = range(1, 7)


def write(path, images=IMAGES, classes=CLASSES, names=lambda number: f'{number}.jpg'):
    """An annotation file; the first two images have a box."""
    content = dict(
        images=[dict(id=number, file_name=names(number), width=60, height=40) for number in images],
        annotations=[
            dict(id=number, image_id=number, category_id=1, bbox=[1, 2, 3, 4], area=12, iscrowd=0)
            for number in list(images)[:2]
        ],
        categories=[dict(id=1 + CLASSES.index(name) if name in CLASSES else 9, name=name) for name in classes],
    )
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def cfg(tmp_path):
    file = write(tmp_path / 'val.json')
    dataset = dict(type='CocoDataset', ann_file=str(file), metainfo=dict(classes=CLASSES), test_mode=True)
    return ConfigDict(
        default_scope='mmdet',
        model=dict(type='MaskRCNN'),
        val_dataloader=dict(dataset=dataset),
        val_evaluator=dict(type='CocoMetric', ann_file=str(file), metric='bbox'),
    )


def found(cfg):
    metrics = cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
    return list(check_evaluator('val_evaluator', metrics, data_configs(cfg, ['val_dataloader']), cfg.model))


def errors(cfg):
    return [one.what for one in found(cfg) if one.level == 'error']


def mend(cfg):
    """Follow the advice of all errors, which is the same."""
    (fix,) = {one.fix for one in found(cfg) if one.level == 'error'}
    cfg.val_evaluator.ann_file = fix.removeprefix('Set val_evaluator.ann_file=').partition(',')[0].rstrip('.')
    assert errors(cfg) == []


def test_the_same_file(cfg, tmp_path, monkeypatch):
    (fact,) = found(cfg)
    assert (fact.level, fact.what) == ('fact', '6 images, by the file of the data set')
    monkeypatch.chdir(tmp_path)
    cfg.val_evaluator.ann_file = './val.json'
    assert found(cfg) == [fact]
    cfg.val_evaluator.ann_file = None  # made of the data set itself
    assert found(cfg) == []


def test_another_file_with_the_same_images_and_categories(cfg, tmp_path):
    cfg.val_evaluator.ann_file = str(write(tmp_path / 'other.json', reversed(IMAGES)))
    (fact,) = found(cfg)
    assert fact.level == 'fact' and 'another file' in fact.what


def test_a_missing_file(cfg, tmp_path):
    cfg.val_evaluator.ann_file = str(tmp_path / 'none.json')
    assert errors(cfg) == [f'the annotation file is missing: {tmp_path}/none.json']
    mend(cfg)


def test_a_file_that_the_data_set_misses_too_is_said_once(cfg, tmp_path):
    (tmp_path / 'val.json').unlink()
    assert errors(cfg) == []  # the check of the data set says it, and where to get it


def test_a_broken_file(cfg, tmp_path):
    (tmp_path / 'broken.json').write_text('{"images": [')
    cfg.val_evaluator.ann_file = str(tmp_path / 'broken.json')
    assert 'not whole JSON' in errors(cfg)[0]


def test_fewer_images_are_read(cfg, tmp_path):
    cfg.val_dataloader.dataset.ann_file = str(write(tmp_path / 'mini.json', range(1, 3)))
    (what,) = errors(cfg)
    assert what.startswith('4 of the 6 images of') and 'count as missed: id 3, 4, 5, 6' in what
    mend(cfg)


def test_more_images_are_read(cfg, tmp_path):
    cfg.val_evaluator.ann_file = str(write(tmp_path / 'mini.json', range(1, 3)))
    (what,) = errors(cfg)
    assert what.startswith('4 of the 6 images of val_dataloader.dataset are not in')
    mend(cfg)


@pytest.mark.parametrize(
    'changes, missing',
    [
        (dict(indices=2), 4),
        (dict(indices=[0, 5, -1]), 4),
        (dict(test_mode=False, filter_cfg=dict(filter_empty_gt=True, min_size=32)), 4),
        (dict(test_mode=False, filter_cfg=dict(min_size=50)), 6),
        (dict(test_mode=True, filter_cfg=dict(filter_empty_gt=True)), 0),
        (dict(test_mode=False), 0),
    ],
)
def test_images_that_the_data_set_leaves_out(cfg, changes, missing):
    cfg.val_dataloader.dataset.update(changes)
    assert [what.split()[0] for what in errors(cfg)] == [str(missing)] * bool(missing)
    if missing:
        (fix,) = {one.fix for one in found(cfg) if one.level == 'error'}
        assert 'test_mode=True, and neither indices nor filter_cfg' in fix
        cfg.val_dataloader.dataset.update(test_mode=True, indices=None, filter_cfg=None)
        assert errors(cfg) == []


def test_other_images_under_the_same_ids(cfg, tmp_path):
    other = write(tmp_path / 'other.json', names=lambda number: f'{number % 6 + 1}.jpg')
    cfg.val_evaluator.ann_file = str(other)
    assert errors(cfg) == []  # other names for the same boxes
    other.write_text(other.read_text().replace('[1, 2, 3, 4]', '[5, 6, 7, 8]'))
    (what,) = errors(cfg)
    assert what.startswith('6 ids are of other images') and '1 is 1.jpg and there 2.jpg' in what
    cfg.val_evaluator.ann_file = str(write(tmp_path / 'other.json', names=lambda number: f'val/{number}.png'))
    assert errors(cfg) == []  # of another folder


def test_categories_in_another_order(cfg, tmp_path):
    cfg.val_evaluator.ann_file = str(write(tmp_path / 'other.json', classes=CLASSES[::-1]))
    (what,) = errors(cfg)
    assert "another order than the classes of val_dataloader.dataset: label 0 is 'horse' and there 'cat'" in what
    mend(cfg)


def test_categories_that_are_missing(cfg, tmp_path):
    cfg.val_evaluator.ann_file = str(write(tmp_path / 'other.json', classes=('cat', 'dog', 'cow')))
    (what,) = errors(cfg)
    assert '1 of the 3 classes of val_dataloader.dataset are no category' in what and what.endswith('horse')


def test_more_categories_than_classes(cfg, tmp_path):
    cfg.val_evaluator.ann_file = str(write(tmp_path / 'other.json', classes=('cow', *CLASSES)))
    assert errors(cfg) == []  # only those of the classes number labels


def test_several_data_sets(cfg, tmp_path):
    one = cfg.val_dataloader.dataset
    other = ConfigDict(one, ann_file=str(write(tmp_path / 'more.json', range(7, 10))))
    cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=[one, other])
    assert '3 of the 9 images' in errors(cfg)[0]
    cfg.val_evaluator.ann_file = str(write(tmp_path / 'all.json', range(1, 10)))
    assert errors(cfg) == []
    other.ann_file = str(write(tmp_path / 'more.json', range(6, 10)))
    cfg.val_dataloader.dataset.datasets[1] = other
    assert ['the same ids' in what for what in errors(cfg)] == [True]
    metrics = [dict(type='CocoMetric', ann_file=each.ann_file) for each in (one, other)]  # of MultiDatasetsEvaluator
    cfg.val_evaluator = metrics
    assert errors(cfg) == []


def test_things_of_a_panoptic_segmentation(cfg, tmp_path):
    stuff = ('sky', 'road')
    panoptic = write(tmp_path / 'panoptic.json', classes=(*CLASSES, *stuff))
    meta = dict(classes=(*CLASSES, *stuff), thing_classes=CLASSES, stuff_classes=stuff)
    cfg.val_dataloader.dataset.update(type='CocoPanopticDataset', ann_file=str(panoptic), metainfo=meta)
    cfg.val_evaluator = [cfg.val_evaluator, dict(type='CocoPanopticMetric', ann_file=str(panoptic))]
    assert errors(cfg) == []
    cfg.val_evaluator[0].ann_file = str(write(tmp_path / 'other.json', classes=CLASSES[::-1]))
    assert 'another order' in errors(cfg)[0]


def test_masks_need_a_mask_head(cfg):
    cfg.val_evaluator.metric = ['bbox', 'segm']
    cfg.model.roi_head = dict(type='StandardRoIHead', bbox_head=dict(type='Shared2FCBBoxHead'))
    assert errors(cfg) == ["metric has 'segm', and the model no mask head"]
    cfg.model.roi_head.mask_head = dict(type='FCNMaskHead')
    assert errors(cfg) == []
    cfg.model.roi_head = dict(type='SparseRoIHead', bbox_head=[dict(type='DIIHead')])
    assert errors(cfg) == []
    for kind, wrong in (('VFNetHead', 1), ('RTMDetInsSepBNHead', 0), ('MyHead', 0)):
        cfg.model = dict(type='SingleStage', bbox_head=dict(type=kind))
        assert len(errors(cfg)) == wrong
    cfg.model = dict(type='CondInst', bbox_head=dict(type='FCOSHead'), mask_head=dict(type='CondInstMaskHead'))
    assert errors(cfg) == []


def test_what_is_not_compared(cfg, tmp_path):
    cfg.val_evaluator = dict(type='CocoMetric', ann_file='s3://bucket/val.json')
    assert found(cfg) == []
    cfg.val_evaluator = dict(type='CocoMetric', ann_file=str(tmp_path / 'test.json'), format_only=True)
    assert found(cfg) == []
    cfg.val_evaluator = dict(type='IoUMetric')
    assert found(cfg) == []
