from __future__ import annotations

import json

import pytest

from mmiformer.evaluation.tables import format_classes, format_table, nothing_detected, summarize, write_json

COCO = {
    f'coco/{kind}_{name}': value
    for kind, first in (('bbox', 0.408), ('segm', 0.379))
    for name, value in zip(
        ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'), (first, 0.6, 0.4, -1.0, 0.3, 1.0), strict=True
    )
}


def test_coco():
    summary = summarize({**COCO, 'data_time': 0.5})
    assert summary['box AP'] == 40.8 and summary['mask AP'] == 37.9 and summary['mask APl'] == 100.0
    assert summary['box APs'] is None and summary['data_time'] == 0.5
    del summary['data_time']
    header, line, box, mask = format_table(summary).split('\n')
    assert header.split() == ['%', 'AP', 'AP50', 'AP75', 'APs', 'APm', 'APl'] and set(line) == {'-'}
    assert box.split() == ['box', '40.8', '60.0', '40.0', '-', '30.0', '100.0']
    assert mask.split() == ['mask', '37.9', '60.0', '40.0', '-', '30.0', '100.0']


def test_boxes_alone():
    summary = summarize({key: value for key, value in COCO.items() if 'bbox' in key})
    assert format_table(summary).count('\n') == 2 and 'mask' not in format_table(summary)


@pytest.mark.parametrize(
    ('metric', 'rows'),
    [
        (dict(metric=['bbox', 'segm']), ('box', 'mask')),
        (dict(metric='bbox'), ('box',)),
        (dict(), ('box',)),
        (dict(metric='segm', prefix='coco'), ('mask',)),
        (dict(format_only=True), ()),
    ],
)
def test_no_detection(metric, rows):
    summary = summarize(nothing_detected(metric, {}))
    assert summary == {f'{row} {column}': 0.0 for row in rows for column in ('AP', 'AP50', 'AP75')}
    assert nothing_detected(metric, {'coco/bbox_mAP_s': 0.3}) == {}


def test_no_proposal():
    assert nothing_detected(dict(metric='proposal'), {}) == {f'coco/AR@{number}': 0 for number in (100, 300, 1000)}


def test_no_detection_beside_another_metric():
    own = dict(metric='bbox', prefix='own')
    assert nothing_detected(own, {'coco/bbox_mAP': 0.3}) == {f'own/bbox_{n}': 0 for n in ('mAP', 'mAP_50', 'mAP_75')}


def test_segmentation():
    summary = summarize({'aAcc': 79.123, 'mIoU': 42.4, 'mAcc': float('nan')})
    assert summary == {'mIoU': 42.4, 'mAcc': None, 'aAcc': 79.12}
    assert [row.split() for row in format_table(summary).split('\n')][::2] == [
        ['%', 'mIoU', 'mAcc', 'aAcc'],
        ['all', '42.40', '-', '79.12'],
    ]


def test_other_metrics_keep_their_names():
    assert summarize({'pascal_voc/mAP': 0.5}) == {'pascal_voc/mAP': 0.5}
    assert format_table({'pascal_voc/mAP': 0.5}).split() == ['pascal_voc/mAP', '-' * 14, '0.50']


def test_classes():
    table = format_classes({'wall': dict(IoU=1.234, Acc=2.0), 'a long name': dict(IoU=float('nan'), Acc=100.0)})
    assert [row.split() for row in table.split('\n')] == [
        ['class', 'IoU', 'Acc'],
        ['-' * max(map(len, table.split('\n')))],
        ['wall', '1.23', '2.00'],
        ['a', 'long', 'name', '-', '100.00'],
    ]


def test_json_has_null_where_there_is_no_number(tmp_path):
    path = tmp_path / 'figures.json'
    write_json(path, dict(percent=dict(mIoU=float('nan'), aAcc=1.5), classes=dict(wall=dict(IoU=None))))
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == dict(
        percent=dict(mIoU=None, aAcc=1.5), classes=dict(wall=dict(IoU=None))
    )
    assert list(tmp_path.iterdir()) == [path]
