"""What COCO files refer to and lack, as smallest inputs; and what is left out of them, as mmdet leaves it out."""

from __future__ import annotations

import copy
import itertools
import json
import re
from dataclasses import replace

import pytest

from mmiformer.checks.coco import CocoUse, check_coco_file
from mmiformer.checks.findings import errors
from mmiformer.datasets.coco_file import read_coco

BOXES = ((2, 2, 34, 20), (40, 5, 38, 36), (5, 26, 20, 14))
FILE = dict(
    images=[dict(id=one, file_name=f'{one}.jpg', width=80, height=60) for one in (1, 2, 3)],
    categories=[dict(id=10, name='cat'), dict(id=12, name='dog')],
    annotations=[
        dict(
            id=number,
            image_id=image,
            category_id=(10, 12)[number % 2],
            bbox=[x, y, w, h],
            area=w * h,
            iscrowd=0,
            segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
        )
        for number, (image, (x, y, w, h)) in enumerate(itertools.product((1, 2, 3), BOXES), 1)
    ],
)
TRAINING = CocoUse(
    'train', filters=True, masks=True, loaded=True, classes=('cat', 'dog'), filter=dict(filter_empty_gt=True)
)
EVALUATION = CocoUse('val', evaluation=True, masks=True, classes=('cat', 'dog'))


@pytest.fixture
def found(tmp_path):
    """A function of a change of the file: what is found then."""

    def found(spoil=None, use=TRAINING):
        content = copy.deepcopy(FILE)
        if spoil:
            spoil(content)
        (tmp_path / 'file.json').write_text(json.dumps(content))
        return list(check_coco_file(read_coco(tmp_path / 'file.json'), use))

    return found


def each(key, change):
    """A function that changes all annotations of a file."""

    def spoil(content):
        for annotation in content['annotations']:
            if change is None:
                del annotation[key]
            else:
                annotation[key] = change(annotation[key])

    return spoil


def one(**changes):
    """A function that changes the second annotation of a file."""
    return lambda content: content['annotations'][1].update(changes)


def text(findings):
    return '\n'.join(f'{finding.what}\n{finding.fix}' for finding in findings)


@pytest.mark.parametrize('use', [TRAINING, EVALUATION])
def test_nothing_is_wrong(found, use):
    assert found(use=use) == []


BOTH = (TRAINING, EVALUATION)
WRONG = {
    'category ids counted from 0': (
        each('category_id', lambda one: (one - 10) // 2),
        BOTH,
        'no category has the category_id of 9 of 9 annotations .*: 0, 1',
    ),
    'unknown category': (
        one(category_id=11),
        BOTH,
        r'no category has the category_id of 1 of 9 annotations \(id 2\): 11',
    ),
    'unknown image': (one(image_id=7), BOTH, r'no image has the image_id of 1 of 9 annotations \(id 2\): 7'),
    'no category': (
        lambda c: c['annotations'][1].pop('category_id'),
        BOTH,
        'no category has the category_id of .*: None',
    ),
    'strings and numbers': (each('category_id', str), BOTH, 'both as numbers: some are strings'),
    'an image twice': (lambda c: c['images'][1].update(id=1), BOTH, '1 ids of images are there more than once: 1'),
    'a category twice': (lambda c: c['categories'][1].update(id=10), BOTH, '1 ids of categories .* more than once: 10'),
    'an annotation twice': (one(id=1), BOTH, '1 ids of annotations are there more than once: 1'),
    'ids of annotations in each image': (each('id', lambda one: (one - 1) % 3), BOTH, '3 ids of annotations'),
    'no id': (lambda c: c['annotations'][1].pop('id'), BOTH, '1 of 9 annotations have no `id`'),
    'no width': (lambda c: c['images'][1].pop('width'), BOTH, '1 of 3 images have no `width` and `height`'),
    'no box': (one(bbox=None), BOTH, '1 of 9 annotations .* have no `bbox` of four numbers'),
    'three numbers': (one(bbox=[1, 2, 3]), BOTH, '1 of 9 annotations .* have no `bbox` of four numbers'),
    'words': (one(bbox=['1', '2', '3', '4']), BOTH, '1 of 9 annotations .* have no `bbox` of four numbers'),
    'NaN': (one(bbox=[float('nan'), 2, 3, 4]), BOTH, '1 of 9 annotations .* have no `bbox` of four numbers'),
    'text as size': (lambda c: c['images'][1].update(width='80'), BOTH, '1 of 3 images have no `width` and `height`'),
    'no area': (each('area', None), BOTH, '9 of 9 annotations .* have no `area`'),
    'no iscrowd': (each('iscrowd', None), [EVALUATION], '9 of 9 annotations .* have no `iscrowd`'),
    'names as ids': (each('id', lambda one: f'a{one}'), [EVALUATION], 'are strings, which pycocotools cannot count'),
    'no masks': (each('segmentation', None), BOTH, '9 of 9 annotations .* have no `segmentation`'),
    'a mask missing': (
        lambda c: c['annotations'][1].pop('segmentation'),
        BOTH,
        '1 of 9 annotations .* no `segmentation`',
    ),
    'an empty mask': (one(segmentation=[]), BOTH, '1 of 9 annotations .* have no `segmentation`'),
    'a null mask': (one(segmentation=None), BOTH, '1 of 9 annotations .* have no `segmentation`'),
    'a flat polygon': (one(segmentation=[2, 2, 9, 2, 9, 9]), BOTH, 'neither polygons nor run lengths'),
    'a mask of text': (one(segmentation='2 2 9 2'), BOTH, 'neither polygons nor run lengths'),
    'run lengths without size': (one(segmentation=dict(counts=[9])), BOTH, 'neither polygons nor run lengths'),
    'lists of points': (
        each('segmentation', lambda one: [list(p) for p in zip(one[0][::2], one[0][1::2], strict=True)]),
        BOTH,
        'as one list of numbers, not as a list of points',
    ),
    'run lengths of another size': (
        one(segmentation=dict(size=[80, 60], counts=[4800])),
        BOTH,
        r'1 of 9 annotations \(id 2\) have run lengths of another `size`',
    ),
    'corners': (
        each('bbox', lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]]),
        BOTH,
        r"all would fit as \[x1, y1, x2, y2\]\nWrite COCO's \[x, y, width, height\]",
    ),
    'fractions': (
        each('bbox', lambda box: [box[0] / 80, box[1] / 60, box[2] / 80, box[3] / 60]),
        BOTH,
        'seem to be fractions of the image',
    ),
    'crowds alone': (each('iscrowd', lambda _: 1), [TRAINING], '0 of 9 boxes; left out: 9 boxes of crowds'),
}


@pytest.mark.parametrize('name', WRONG)
def test_errors(found, name):
    spoil, uses, message = WRONG[name]
    for use in (TRAINING, EVALUATION):
        wrong = errors(found(spoil, use))
        assert bool(re.search(message, text(wrong))) == (use in uses), wrong


def test_categories_that_count_from_another_number(found):
    def spoil(content):
        for number, category in enumerate(content['categories'], 1):
            category['id'] = number
        each('category_id', lambda one: (one - 10) // 2)(content)

    (error, *_) = errors(found(spoil))
    assert 'no category has the category_id of 4 of 9 annotations (id 2, 4, 6, ...): 0' in error.what
    assert 'category_id counts from 0 and the categories from 1' in error.fix


def test_the_id_0_counts_as_missed(found):
    spoil = each('id', lambda one: one - 1)
    assert [finding.level for finding in found(spoil, EVALUATION)] == ['warning']
    assert found(spoil) == []


def test_a_file_named_twice(found):
    (finding,) = found(lambda content: content['images'].append(dict(content['images'][0], id=9)), EVALUATION)
    assert finding.level == 'warning' and '1 images name a file that another one names' in finding.what


def test_without_a_mask_head_masks_do_not_matter(found):
    assert found(each('segmentation', None), replace(TRAINING, masks=False)) == []


@pytest.mark.parametrize(
    ('loaded', 'box', 'share'), [(True, [3, 3, 9, 9], 1 / 3), (False, [3, 3, 9, 9], 0), (True, [3, 3, 0.5, 9], 0)]
)
def test_masks_that_an_evaluation_can_leave_out(found, loaded, box, share):
    """Those that the pipeline loads; it leaves out the smallest boxes, whose masks pycocotools reads."""

    def spoil(content):
        content['annotations'][0].update(segmentation=[[1, 2, 3, 4]], bbox=box, iscrowd=1)

    (finding,) = errors(found(spoil, replace(EVALUATION, loaded=loaded)))
    assert 'have no polygon with an area' in finding.what and finding.share == share
    assert not errors(found(spoil, TRAINING))  # which learns from no crowd


def test_an_object_below_one_pixel(found):
    """A line, say: no training uses it, and pycocotools counts it as it is."""

    def spoil(content):
        line = [[296.65, 388.33, 296.65, 388.33, 297.68, 388.33, 297.68, 388.33]]
        content['annotations'][0].update(segmentation=line, bbox=[296.65, 388.33, 1.03, 0], area=0)

    assert not errors(found(spoil, TRAINING)) and not errors(found(spoil, EVALUATION))


def test_a_short_polygon_first(found):
    def spoil(content):
        content['annotations'][0]['segmentation'] = [[1, 2, 3, 4], [2, 2, 12, 2, 12, 12]]

    assert not errors(found(spoil, TRAINING))
    (finding,) = errors(found(spoil, EVALUATION))
    assert 'or begin with a shorter one' in finding.what


def test_polygons_leave_out_run_lengths(found):
    spoil = each('segmentation', lambda _: dict(size=[60, 80], counts=[9, 900, 3891]))
    assert found(spoil) == []
    (finding,) = found(spoil, replace(TRAINING, polygons=True))
    assert finding.level == 'warning' and '9 of 9 annotations' in finding.what and 'poly2mask=True' in finding.fix


def test_what_is_odd_in_original_data_is_counted(found):
    """As in COCO's own files: empty images, crowds, boxes without area or outside, masks of two points."""

    def spoil(content):
        content['images'].append(dict(id=4, file_name='4.jpg', width=80, height=60))
        content['images'].append(dict(id=5, file_name='5.jpg', width=20, height=60))
        content['annotations'].append(dict(content['annotations'][0], id=50, image_id=5))
        for number, change in enumerate(
            (
                dict(iscrowd=1, segmentation=dict(size=[60, 80], counts=[4800])),
                dict(bbox=[3, 3, 0, 9]),
                dict(bbox=[90, 3, 9, 9]),
                dict(area=0),
                dict(ignore=1),
                dict(segmentation=[[1, 2, 3, 4]]),
            )
        ):
            content['annotations'][number].update(change)

    use = replace(TRAINING, filter=dict(filter_empty_gt=True, min_size=32))
    findings = found(spoil, use)
    (finding,) = errors(findings)
    assert '1 of 10 annotations (id 6) in 1 images have no polygon with an area' in finding.what
    assert finding.files == ('2.jpg',) and finding.share == 1 / 4
    assert (
        '3 of 5 images are used and 4 of 10 boxes; left out: 1 images without annotations of the classes, 1 images '
        'below 32 pixels, 1 boxes to be ignored, 1 boxes outside of their image, 2 boxes smaller than a pixel or '
        'without area, 1 boxes of crowds'
    ) in text(findings)


@pytest.mark.parametrize(
    'rules', [None, dict(filter_empty_gt=True), dict(min_size=50), dict(filter_empty_gt=True, min_size=60)]
)
@pytest.mark.parametrize('classes', [('cat', 'dog'), ('dog',)])
def test_counts_are_those_of_mmdet(tmp_path, rules, classes):
    from mmdet.datasets import CocoDataset

    content = copy.deepcopy(FILE)
    content['images'].append(dict(id=4, file_name='4.jpg', width=80, height=60))
    content['images'].append(dict(id=5, file_name='5.jpg', width=40, height=60))
    content['images'].append(dict(id=6, file_name='6.jpg', width=90, height=70))
    content['annotations'].append(dict(content['annotations'][0], id=50, image_id=5))
    content['annotations'].append(dict(content['annotations'][0], id=51, image_id=6, category_id=10))
    for number, change in enumerate(
        (dict(iscrowd=1), dict(bbox=[3, 3, 0.5, 9]), dict(bbox=[-9, 3, 9, 9]), dict(area=0))
    ):
        content['annotations'][number].update(change)
    path = tmp_path / 'file.json'
    path.write_text(json.dumps(content))
    dataset = CocoDataset(
        ann_file=str(path), data_prefix=dict(img=''), metainfo=dict(classes=classes), filter_cfg=rules
    )
    boxes = [box for item in dataset for box in item['instances'] if not box['ignore_flag']] if len(dataset) else []
    use = CocoUse('train', filters=True, classes=classes, filter=rules)
    assert f'{len(dataset)} of 6 images are used and {len(boxes)} of 11 boxes' in text(
        check_coco_file(read_coco(path), use)
    )


def test_classes_without_a_box_are_named(found):
    (finding,) = found(each('category_id', lambda _: 10))
    assert finding.level == 'note' and '1 classes have no box: dog' in finding.what


def test_a_file_of_another_task(found):
    """Captions name an image alone, and panoptic segmentations hold their categories elsewhere."""

    def captions(content):
        content['annotations'] = [dict(id=one, image_id=1, caption='a cat') for one in (1, 2)]

    def panoptic(content):
        content['annotations'] = [dict(image_id=1, segments_info=[dict(id=1, category_id=10, bbox=[0, 0, 9, 9])])]

    for spoil in (captions, panoptic):
        (one,) = found(spoil)
        assert one.level == 'error' and 'seems to be of another task' in one.what
