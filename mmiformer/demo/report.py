"""The report of a demo: figures and times as text, a picture, and a page with all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..datasets.shapes import CLASSES
from ..evaluation.curves import Curves, draw_curves
from ..evaluation.tables import format_table
from ..report import picture, save_figure, side_by_side, table, write_page
from .scenes import COLORS, draw_instances, draw_labels, draw_scene, held_out, read_instances, read_pixels

SHOWN = 6  # scenes; the sixth of every eight is crowded
_FIGURES = ('box AP', 'box AP50', 'mask AP', 'mask AP50', 'mIoU', 'mAcc', 'aAcc')
_ROWS = ('held-out scene', 'instances:\nground truth', 'instances:\nMask R-CNN', 'labels:\nground truth')
_ROWS += ('labels:\nSemantic FPN',)
_INTRO = """<p>Two networks on the same drawn scenes, trained from random weights: Mask R-CNN finds the objects one by
one, Semantic FPN labels every pixel. The scenes below are held out: neither network has seen them.</p>"""


@dataclass(frozen=True)
class Result:
    """What a task came to.

    Attributes:
        title: Of the network.
        figures: {name: percent} of the evaluation; None where there was nothing to measure.
        curves: Of the training.
    """

    title: str
    figures: Mapping[str, float | None]
    curves: Curves


def format_results(results: Sequence[Result], seconds: Mapping[str, float]) -> str:
    """Lay out the figures of the tasks and the seconds of the steps as text."""
    width = max(map(len, seconds))
    times = [f'{step:<{width}}  {_clock(duration)}' for step, duration in seconds.items()]
    return '\n\n'.join([*(f'{one.title}\n{format_table(one.figures)}' for one in results), '\n'.join(times)])


def draw_picture(path: Path, results: Sequence[Result], data: Path, detections: Path, segmentations: Path) -> None:
    """Draw the training curves side by side, and below them held-out scenes with truth and predictions.

    Args:
        path: The PNG.
        results: The tasks.
        data: The shapes data set.
        detections: What `tools/predict.py` wrote for the detector.
        segmentations: What it wrote for the segmentor.
    """
    scenes = held_out(data)[:SHOWN]
    figure = Figure(figsize=(2 * SHOWN + 1.1, 3.4 + 2 * len(_ROWS)), layout='constrained')
    top, bottom = figure.subfigures(2, 1, height_ratios=[2.9, 2 * len(_ROWS) + 0.5])
    for axes, result in zip(top.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        figures = ', '.join(f'{name} {_show(result.figures[name])}' for name in _FIGURES if name in result.figures)
        axes.set_title(f'{result.title}\n{figures}', fontsize=11)
        draw_curves(axes, result.curves)
    grid = bottom.subplots(len(_ROWS), len(scenes), squeeze=False)
    for axes, label in zip(grid[:, 0], _ROWS, strict=True):
        axes.set_ylabel(label, fontsize=11)
    for column, scene in zip(grid.T, scenes, strict=True):
        image = read_pixels(scene)
        draw_scene(column[0], image)
        truth = data / 'coco/annotations/instances_val2017.json'
        for axes, file in zip(column[1:3], (truth, detections / 'predictions.json'), strict=True):
            draw_instances(axes, image, read_instances(file, scene.name))
        draw_labels(column[3], image, read_pixels(data / 'ade/annotations/validation' / scene.name) - 1)
        draw_labels(column[4], image, read_pixels(segmentations / 'labels' / scene.name))
    patches = [Patch(color=color, label=name) for color, name in zip(COLORS, ('background', *CLASSES), strict=True)]
    bottom.legend(handles=patches, loc='outside lower center', ncols=len(patches), frameon=False)
    save_figure(figure, path)


def write_report(
    path: Path, results: Sequence[Result], seconds: Mapping[str, float], facts: Mapping[str, object], png: Path
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        results: The tasks.
        seconds: {step: seconds}.
        facts: {name: value}, what it was made with.
        png: What :func:`draw_picture` drew.
    """
    names = [name for name in _FIGURES if any(name in result.figures for result in results)]
    rows = [
        [one.title, *(_show(one.figures[name]) if name in one.figures else '' for name in names)] for one in results
    ]
    tables = side_by_side(
        table(['on held-out scenes, %', *names], rows),
        table(['step', 'h:min:s'], [(step, _clock(duration)) for step, duration in seconds.items()]),
        table(['made with', ''], facts.items()),
    )
    alt = 'training curves, scenes, ground truth and predictions'
    write_page(path, 'iFormer-T on the embedded data set', _INTRO, tables, picture(png, alt))


def _show(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
