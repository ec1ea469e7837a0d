"""What a test asks of the toolboxes' metrics: to write their results, and figures by class."""

import os
from pathlib import Path

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner

from ..engine.config import evaluators, kind
from ..errors import UserError
from ..registry import METRICS

TEST = ('test_evaluator',)
COCO_METRICS = ('CocoMetric', 'FasterCocoMetric')  # mmdet's, on pycocotools and on faster-coco-eval


@METRICS.register_module(name='ClassIoU')
def build_class_iou(**settings) -> BaseMetric:
    """Build mmseg's IoUMetric with figures by class. mmseg is imported only here, since detection does without it."""
    from .class_iou import ClassIoU

    return ClassIoU(**settings)


def dump_results(cfg: Config, folder: str | os.PathLike) -> None:
    """Let the test's metric write its results, in place.

    Detections go to `results.bbox.json` and `results.segm.json` in COCO's results format. Segmentations go to one PNG
    per image, with its name and size and the values of the data set's label files: with `reduce_zero_label` (ADE20K)
    class k of the network, from 0, has the value k + 1.

    Args:
        cfg: The config.
        folder: A new or empty folder.

    Raises:
        UserError: The folder holds something, or the config's metric is of another kind.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f'--dump {folder}: it is there and not empty; results go to a new or empty folder')
    for metric in evaluators(cfg, TEST):
        if kind(metric) in COCO_METRICS:
            metric['outfile_prefix'] = str(folder / 'results')
        elif kind(metric) in ('IoUMetric', 'ClassIoU'):
            metric['output_dir'] = str(folder)
        else:
            raise UserError(f"--dump knows CocoMetric and IoUMetric, not this config's {metric['type']}")
    folder.mkdir(parents=True, exist_ok=True)


def keep_classes(cfg: Config) -> None:
    """Let the test's metric keep its figures by class for :func:`figures_by_class`, in place.

    Raises:
        UserError: The config's metric is not IoUMetric.
    """
    for metric in evaluators(cfg, TEST):
        if kind(metric) not in ('IoUMetric', 'ClassIoU'):
            raise UserError(
                f"--per-class is for segmentation's IoUMetric, not {metric['type']}; "
                'CocoMetric logs its table by class with --cfg-options test_evaluator.classwise=True'
            )
        metric['type'] = 'mmiformer.ClassIoU'


def figures_by_class(runner: Runner) -> dict[str, dict[str, float]]:
    """`{class: {'IoU': percent, 'Acc': percent}}` of a test with :func:`keep_classes`, NaN where a class is absent."""
    return next(metric.by_class for metric in runner.test_evaluator.metrics if hasattr(metric, 'by_class'))
