"""Curves of trainings that were stopped and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from mmiformer.evaluation.curves import Curves, draw_curves, read_curves


def write_scalars(folder: Path, *lines: dict, end: str = '') -> None:
    (folder / 'vis_data').mkdir(parents=True)
    (folder / 'vis_data/scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines) + end)


def test_curves_of_epochs(tmp_path):
    """Evaluations are logged by epoch, losses by iteration; the second run went on after epoch 1."""
    write_scalars(
        tmp_path / '20260101_000000',
        dict(loss=4.0, epoch=1, iter=10, step=10),
        dict(loss=3.0, epoch=1, iter=20, step=20),
        {'coco/bbox_mAP': 0.1, 'coco/segm_mAP': 0.05, 'coco/bbox_mAP_50': 0.3, 'step': 1},
        dict(loss=9.0, epoch=2, iter=30, step=30),
        end='{"loss": 8.0, "epo',
    )
    write_scalars(
        tmp_path / '20260101_010000',
        dict(loss=2.0, epoch=2, iter=30, step=30),
        dict(loss=1.0, epoch=2, iter=40, step=40),
        {'coco/bbox_mAP': 0.5, 'coco/segm_mAP': -1, 'step': 2},
    )
    assert read_curves(tmp_path) == Curves(
        {10: 4.0, 20: 3.0, 30: 2.0, 40: 1.0}, {'box AP': {20: 10.0, 40: 50.0}, 'mask AP': {20: 5.0}}
    )


def test_curves_of_iterations(tmp_path):
    write_scalars(tmp_path / '1', dict(loss=2.0, iter=10, step=10), dict(mIoU=55.5, mAcc=60.0, step=10))
    assert read_curves(tmp_path) == Curves({10: 2.0}, {'mIoU': {10: 55.5}})


def test_no_curves(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no run'):
        read_curves(tmp_path)


def test_losses_and_figures_have_an_axis_each():
    axes = Figure().subplots()
    draw_curves(axes, Curves({1: 3.0, 2: 2.0}, {'mIoU': {2: 51.0}}))
    lines = {line.get_label(): line for place in axes.figure.axes for line in place.get_lines()}
    assert lines['training loss'].get_xydata().tolist() == [[1, 3], [2, 2]]
    assert lines['mIoU'].get_xydata().tolist() == [[2, 51]]
    assert lines['mIoU'].axes is not axes and lines['mIoU'].axes.get_ylim() == (0, 100)
