"""What a config's hooks and metrics are held to before a run."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mmiformer.errors import UserError
from mmiformer.evaluation.metrics import check_followed, dump_results


def config(evaluator: dict | list, save_best: str | list, monitor: str | None = None) -> Config:
    stopping = [dict(type='EarlyStoppingHook', monitor=monitor)] if monitor else []
    hooks = dict(timer=None, checkpoint=dict(type='CheckpointHook', save_best=save_best))
    return Config(dict(val_evaluator=evaluator, default_hooks=hooks, custom_hooks=stopping))


COCO, IOU = dict(type='CocoMetric', metric=['bbox', 'segm']), dict(type='IoUMetric', iou_metrics=['mIoU'])


@pytest.mark.parametrize(
    ('evaluator', 'name'),
    [
        (COCO, 'coco/segm_mAP_50'),
        (COCO, 'auto'),
        (dict(type='CocoMetric', prefix='own'), 'own/bbox_mAP'),
        (IOU, 'mIoU'),
        ([COCO, IOU], ['aAcc', 'coco/bbox_mAP_s']),
        (dict(COCO, classwise=True), 'cat_precision'),
        (dict(type='VOCMetric'), 'pascal_voc/mAP'),
        (dict(type='CocoMetric', metric='proposal'), 'coco/AR@100'),
    ],
)
def test_figures_that_there_will_be(evaluator, name):
    check_followed(config(evaluator, name))


def test_figures_that_there_will_not_be():
    with pytest.raises(UserError, match=r"CheckpointHook has save_best='bbox_mAP', .* it has coco/bbox_mAP, "):
        check_followed(config(COCO, 'bbox_mAP'))
    with pytest.raises(UserError, match='coco/segm_mAP'):
        check_followed(config(dict(type='CocoMetric', metric='bbox'), ['coco/bbox_mAP', 'coco/segm_mAP']))
    with pytest.raises(UserError, match="EarlyStoppingHook has monitor='miou', .* it has mIoU, mAcc, aAcc"):
        check_followed(config(IOU, 'auto', monitor='miou'))


def test_hooks_that_are_none_are_left_to_their_building():
    check_followed(Config(dict(val_evaluator=COCO, default_hooks=None, custom_hooks=['EMAHook', None])))


def test_two_metrics_do_not_write_one_file(tmp_path):
    with pytest.raises(UserError, match='2 CocoMetrics, which would write the same files'):
        dump_results(Config(dict(test_evaluator=[COCO, dict(COCO, prefix='other')])), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    with pytest.raises(UserError, match=r'--dump knows .*not the metrics of this config \(VOCMetric\)'):
        dump_results(Config(dict(test_evaluator=dict(type='VOCMetric'))), tmp_path / 'out')
