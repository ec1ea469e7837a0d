"""What `tools/test.py` asks of the toolboxes' metrics: to dump the results, and figures by class."""

import os
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from ..engine.config import evaluators

TEST = ('test_evaluator',)
COCO_METRICS = ('CocoMetric', 'FasterCocoMetric')  # mmdet's, on pycocotools and on faster-coco-eval


def dump_results(cfg: Config, folder: str | os.PathLike) -> None:
    """Let the test's metric write its results, in place.

    Detections go to `results.bbox.json` and `results.segm.json` in COCO's results format. Segmentations go to one PNG
    for each image, of the image's name and size, whose values are those of the data set's label files: with
    `reduce_zero_label` (ADE20K) class k of the network, from 0, has the value k + 1.

    Args:
        cfg: The config.
        folder: A new or empty folder.

    Raises:
        FileExistsError: The folder holds something.
        ValueError: The config's metric is of another kind.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f'--dump {folder}: it is there and not empty; results go to a new or empty folder')
    for metric in evaluators(cfg, TEST):
        if metric['type'] in COCO_METRICS:
            metric['outfile_prefix'] = str(folder / 'results')
        elif metric['type'] in ('IoUMetric', 'ClassIoU'):
            metric['output_dir'] = str(folder)
        else:
            raise ValueError(f"--dump knows CocoMetric and IoUMetric, not this config's {metric['type']}")
    folder.mkdir(parents=True, exist_ok=True)


def keep_classes(cfg: Config) -> None:
    """Let the test's metric keep its figures by class for :func:`figures_by_class`, in place.

    Raises:
        ValueError: The config's metric is not IoUMetric.
    """
    for metric in evaluators(cfg, TEST):
        if metric['type'] != 'IoUMetric':
            raise ValueError(
                f"--per-class is for segmentation's IoUMetric, not {metric['type']}; "
                'CocoMetric logs its table by class with --cfg-options test_evaluator.classwise=True'
            )
        from . import class_iou  # noqa: F401, registers it; needs mmseg

        metric['type'] = 'ClassIoU'


def figures_by_class(runner: Runner) -> dict[str, dict[str, float]]:
    """`{class: {'IoU': percent, 'Acc': percent}}` of a test with :func:`keep_classes`, NaN where a class is absent."""
    return next(metric.by_class for metric in runner.test_evaluator.metrics if hasattr(metric, 'by_class'))
