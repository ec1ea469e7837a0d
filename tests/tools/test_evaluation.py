"""What tools/test.py says, against pycocotools and NumPy run on the results that it dumps."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .command import REPO, run
from .made_data import make_ade, make_coco

FIGURES = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl')


def oracle_config(folder: Path, parent: str, model: str) -> tuple[Path, Path]:
    """A config of the project with another model, and a checkpoint of that model."""
    config, weights = folder / 'oracle.py', folder / 'oracle.pth'
    config.write_text(
        f"_base_ = '{REPO / 'configs' / parent}'\n"
        "custom_imports = dict(imports=['tests.tools.oracle'])\n"
        f"model = dict(_delete_=True, type='{model}')\n"
    )
    torch.save(dict(state_dict=dict(weight=torch.zeros(1)), meta={}), weights)
    return config, weights


@pytest.fixture(scope='module')
def detections(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp('detections')
    make_coco(folder / 'coco', list(CocoDataset.METAINFO['classes']), val=6)
    files = oracle_config(folder, 'mask_rcnn/iformer_t_1x.py', 'OracleDetector')
    options = ('--data-root', 'coco', '--out', 'out/figures.json', '--dump', 'dump')
    return folder, run('test', *files, *options, '--cfg-options', 'test_dataloader.num_workers=0', cwd=folder)


def pycocotools(annotations: dict, results: Path, kind: str) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = annotations
        truth.createIndex()
        found = json.loads(results.read_text())
        if kind == 'segm':
            for detection in found:  # with a box pycocotools would take its area for the mask's
                detection.pop('bbox')
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    return evaluation.stats[:6].tolist()


@pytest.mark.parametrize(('row', 'kind'), [('box', 'bbox'), ('mask', 'segm')])
def test_average_precision_is_pycocotools(detections, row, kind):
    folder, printed = detections
    annotations = json.loads((folder / 'coco/annotations/instances_val2017.json').read_text())
    expected = pycocotools(annotations, folder / f'dump/results.{kind}.json', kind)
    report = json.loads((folder / 'out/figures.json').read_text())
    figures = report['figures']
    assert report['images'] == 6 and 20 < figures[f'{row} AP'] < 90
    for name, value in zip(FIGURES, expected, strict=True):
        if value < 0:  # no ground truth of that size
            assert name == 'APl' and figures[f'{row} {name}'] is None
        else:
            assert figures[f'{row} {name}'] == pytest.approx(100 * value, abs=0.0501), name
    table = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.startswith(('box', 'mask'))}
    assert table[row] == ['-' if figures[f'{row} {f}'] is None else f'{figures[f"{row} {f}"]:.1f}' for f in FIGURES]

    crowds = [annotation for annotation in annotations['annotations'] if annotation['iscrowd']]
    assert crowds
    for annotation in crowds:
        annotation['iscrowd'] = 0
    without = pycocotools(annotations, folder / f'dump/results.{kind}.json', kind)
    assert abs(without[0] - expected[0]) > 0.01  # the crowd regions in this data matter


@pytest.fixture(scope='module')
def segmentations(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp('segmentations')
    make_ade(folder / 'ade')
    files = oracle_config(folder, 'sem_fpn/iformer_t_40k.py', 'OracleSegmentor')
    options = ('--data-root', 'ade/', '--out', 'figures.json', '--dump', 'dump', '--per-class')
    return folder, run('test', *files, *options, '--cfg-options', 'test_dataloader.num_workers=0', cwd=folder)


def confusion(folder: Path, ignored: tuple[int, ...]) -> np.ndarray:
    """Pixels by label (row) and prediction (column), as in the data set's files, where the classes are 1 to 150."""
    matrix = np.zeros((256, 256), np.int64)
    labels = sorted((folder / 'ade/annotations/validation').glob('*.png'))
    assert len(labels) == 3
    for path in labels:
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        answer = cv2.imread(str(folder / 'dump' / path.name), cv2.IMREAD_UNCHANGED)
        assert answer.dtype == np.uint8 and answer.shape == label.shape and {0, 255} <= set(np.unique(label))
        assert answer.min() >= 1 and answer.max() <= 150
        counted = ~np.isin(label, ignored)
        np.add.at(matrix, (label[counted], answer[counted]), 1)
    return matrix


@np.errstate(invalid='ignore')
def test_mean_iou_is_that_of_the_confusion_matrix(segmentations):
    folder, printed = segmentations
    matrix = confusion(folder, ignored=(0, 255))[1:151, 1:151]
    right = matrix.diagonal()
    iou = 100 * right / (matrix.sum(0) + matrix.sum(1) - right)
    accuracy = 100 * right / matrix.sum(1)
    expected = dict(mIoU=np.nanmean(iou), mAcc=np.nanmean(accuracy), aAcc=100 * right.sum() / matrix.sum())
    report = json.loads((folder / 'figures.json').read_text())
    assert report['images'] == 3 and 20 < report['figures']['mIoU'] < 90
    assert report['figures'] == pytest.approx(expected, abs=0.0051)
    assert printed.splitlines()[-3].split() == ['all', *(f'{report["figures"][name]:.2f}' for name in expected)]

    assert len(report['classes']) == 150
    for row, *values in zip(report['classes'].values(), iou, accuracy, strict=True):
        for figure, value in zip((row['IoU'], row['Acc']), values, strict=True):
            assert figure is None if np.isnan(value) else figure == pytest.approx(value, abs=1e-3)
    assert 'wall' in report['classes'] and any(line.startswith('wall ') for line in printed.splitlines())

    everything = confusion(folder, ignored=())
    assert 100 * right.sum() / everything.sum() < expected['aAcc'] - 1  # the ignored pixels in this data matter
