"""What a test asks of the toolboxes' metrics: to write their results, and figures by class."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner

from ..engine.config import evaluators, kind
from ..errors import UserError, few
from ..registry import METRICS
from .label_maps import LabelMaps
from .tables import COCO_COLUMNS, COCO_ROWS, SEGMENTATION

TEST = ('test_evaluator',)
COCO_METRICS = ('CocoMetric', 'FasterCocoMetric')  # mmdet's, on pycocotools and on faster-coco-eval
IOU_METRICS = ('IoUMetric', 'ClassIoU')  # mmseg's, and ours with figures by class


@METRICS.register_module(name='ClassIoU')
def build_class_iou(**settings) -> BaseMetric:
    """Build mmseg's IoUMetric with figures by class. mmseg is imported only here, since detection does without it."""
    from .class_iou import ClassIoU

    return ClassIoU(**settings)


def dump_results(cfg: Config, folder: str | os.PathLike) -> None:
    """Let the test's metric write its results, in place; :func:`dump_labels` does it for segmentations.

    Detections go to `results.bbox.json` and `results.segm.json` in COCO's results format.

    Args:
        cfg: The config.
        folder: A new or empty folder.

    Raises:
        UserError: The folder holds something, or the config's metrics are others, or two of them write one file.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f'--dump {folder}: it is there and not empty; results go to a new or empty folder')
    known = [metric for metric in evaluators(cfg, TEST) if kind(metric) in COCO_METRICS + IOU_METRICS]
    if not known:
        kinds = ', '.join(kind(metric) for metric in evaluators(cfg, TEST))
        raise UserError(f'--dump knows CocoMetric and IoUMetric, not the metrics of this config ({kinds})')
    coco = [metric for metric in known if kind(metric) in COCO_METRICS]
    if len(coco) > 1:
        raise UserError(f'--dump: test_evaluator has {len(coco)} CocoMetrics, which would write the same files')
    for metric in coco:
        metric['outfile_prefix'] = str(folder / 'results')
    folder.mkdir(parents=True, exist_ok=True)


def dump_labels(runner: Runner, folder: str | os.PathLike) -> None:
    """Let a test of a segmentor write its results: one PNG for each image, see :class:`LabelMaps`.

    Args:
        runner: The runner, before its test.
        folder: As for :func:`dump_results`.

    Raises:
        UserError: The values of the classes do not fit the files.
    """
    if any(kind(metric) in IOU_METRICS for metric in evaluators(runner.cfg, TEST)):
        labels = LabelMaps(runner.test_dataloader.dataset, Path(folder).expanduser())
        runner.test_evaluator.metrics.append(labels)


def check_followed(cfg: Config) -> None:
    """Check that the figures which hooks follow, `save_best` and `monitor`, are among those of the validation.

    Otherwise MMEngine stops at the first validation, or follows nothing.

    Raises:
        UserError: There will be no such figure. Of metrics with settings not known here, anything is taken.
    """
    figures: list[str] = []
    for metric in evaluators(cfg, ('val_evaluator',)):
        rows = _listed(metric.get('metric', 'bbox'))
        if kind(metric) in COCO_METRICS and {*rows} <= {*COCO_ROWS.values()} and not metric.get('classwise'):
            names = metric.get('metric_items') or COCO_COLUMNS.values()
            figures += [f'{metric.get("prefix") or "coco"}/{row}_{name}' for row in rows for name in names]
        elif kind(metric) in IOU_METRICS and _listed(metric.get('iou_metrics', 'mIoU')) == ['mIoU']:
            figures += [f'{metric["prefix"]}/{name}' if metric.get('prefix') else name for name in SEGMENTATION]
        else:
            return
    for hook in (*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])):
        for key in ('save_best', 'monitor') if isinstance(hook, Mapping) else ():
            for name in _listed(hook.get(key) or []):
                if name not in ('auto', *figures):
                    raise UserError(
                        f'{kind(hook)} has {key}={name!r}, and the validation has no such figure; '
                        f'it has {few(figures, 12) or "none"}'
                    )


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def keep_classes(cfg: Config) -> None:
    """Let the test's metric keep its figures by class for :func:`figures_by_class`, in place.

    Raises:
        UserError: The config's metric is not IoUMetric.
    """
    for metric in evaluators(cfg, TEST):
        if kind(metric) not in IOU_METRICS:
            raise UserError(
                f"--per-class is for segmentation's IoUMetric, not {metric['type']}; "
                'CocoMetric logs its table by class with --cfg-options test_evaluator.classwise=True'
            )
        metric['type'] = 'mmiformer.ClassIoU'


def figures_by_class(runner: Runner) -> dict[str, dict[str, float]]:
    """`{class: {'IoU': percent, 'Acc': percent}}` of a test with :func:`keep_classes`, NaN where a class is absent."""
    return next(metric.by_class for metric in runner.test_evaluator.metrics if hasattr(metric, 'by_class'))
