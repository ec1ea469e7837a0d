"""The report of a demo: one page, and one picture to look at."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..datasets.shapes import CLASSES, PALETTE
from .curves import Curves
from .pictures import BACKGROUND, Views

_ROWS = {  # of the picture
    'scene': 'held-out scene',
    'instances': 'instances:\nground truth',
    'detections': 'instances:\nMask R-CNN',
    'labels': 'labels:\nground truth',
    'segmentation': 'labels:\nSemantic FPN',
}
_COLORS = {'loss': '#9a9a9a', 'box AP': '#4c78a8', 'mask AP': '#e45756', 'mIoU': '#54a24b'}


@dataclass(frozen=True)
class Part:
    """What a task came to.

    Attributes:
        title: Of the network.
        figures: {name: percent} of the evaluation; None where there was nothing to measure.
        curves: Of the training.
    """

    title: str
    figures: Mapping[str, float | None]
    curves: Curves


def format_results(parts: Sequence[Part], times: Mapping[str, float]) -> str:
    """Lay out the figures of the tasks and the seconds of the steps as text."""
    rows = [
        (part.title, '   '.join(f'{name} {_show(value)}' for name, value in part.figures.items())) for part in parts
    ]
    rows += [('', '')]
    rows += [(step, f'{_clock(seconds):>6}') for step, seconds in times.items()]
    width = max(len(name) for name, _ in rows)
    return '\n'.join(f'{name:<{width}}  {value}'.rstrip() for name, value in rows)


def _show(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'


def _clock(seconds: float) -> str:
    return f'{int(seconds + 0.5) // 60}:{int(seconds + 0.5) % 60:02d}'


def draw(parts: Sequence[Part], views: Sequence[Views], path: Path) -> None:
    """Draw the picture: the training curves side by side, and below them the scenes, with truth and predictions.

    Args:
        parts: The tasks, with a curve each.
        views: The scenes, a column each.
        path: The PNG to write.
    """
    columns = len(views)
    figure = Figure(figsize=(2 * max(columns, 6) + 1.1, 2.9 + 2 * len(_ROWS) + 0.5), dpi=130, layout='constrained')
    top, bottom = figure.subfigures(2, 1, height_ratios=[2.9, 2 * len(_ROWS) + 0.5])
    for axes, part in zip(top.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        _draw_curves(axes, part)
    grid = bottom.subplots(len(_ROWS), columns, squeeze=False)
    for row, (name, label) in zip(grid, _ROWS.items(), strict=True):
        row[0].set_ylabel(label, fontsize=11)
        for axes, scene in zip(row, views, strict=True):
            axes.imshow(_square(getattr(scene, name)))
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    colors = [*zip(CLASSES, PALETTE, strict=True), ('background', BACKGROUND)]
    patches = [Patch(color=np.array(color) / 255, label=name) for name, color in colors]
    bottom.legend(handles=patches, loc='outside lower center', ncols=len(patches), frameon=False)
    part = path.with_name(f'.{path.name}')
    figure.savefig(part, format='png')
    part.replace(path)


def _square(image: np.ndarray) -> np.ndarray:
    """Put an image on a white square, so that all of a row are drawn to the same scale."""
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), 255, np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    square[y : y + height, x : x + width] = image
    return square


def _draw_curves(axes: Axes, part: Part) -> None:
    figures = ', '.join(f'{name} {_show(value)}' for name, value in part.figures.items())
    axes.set_title(f'{part.title}\n{figures}', fontsize=11)
    axes.plot(list(part.curves.loss), list(part.curves.loss.values()), color=_COLORS['loss'], label='training loss')
    axes.set(xlabel='iteration', ylabel='training loss', ylim=(0, None))
    percent = axes.twinx()
    percent.set(ylabel='%, held out', ylim=(0, 100))
    for name, points in part.curves.metrics.items():
        percent.plot(list(points), list(points.values()), 'o-', color=_COLORS[name], markersize=4, label=name)
    lines = axes.get_lines() + percent.get_lines()
    percent.legend(handles=lines, loc='upper center', ncols=len(lines), fontsize=9)  # the loss begins on the left


def write_page(
    parts: Sequence[Part], times: Mapping[str, float], facts: Mapping[str, object], picture: Path, path: Path
) -> None:
    """Write the page, one HTML file with all in it.

    Args:
        parts: The tasks.
        times: {step: seconds}.
        facts: {name: value}, what it was made with.
        picture: What :func:`draw` drew.
        path: The HTML file to write.
    """
    image = base64.b64encode(picture.read_bytes()).decode()
    names = list(dict.fromkeys(name for part in parts for name in part.figures))
    results = [
        [part.title, *(_show(part.figures[name]) if name in part.figures else '' for name in names)] for part in parts
    ]
    clock = [[step, _clock(seconds)] for step, seconds in times.items()]
    page = _PAGE.format(
        results=_table(['on held-out scenes, %', *names], results),
        times=_table(['step', 'min:s'], clock),
        facts=_table(['made with', ''], [[name, str(value)] for name, value in facts.items()]),
        image=image,
    )
    part = path.with_name(f'.{path.name}')
    part.write_text(page)
    part.replace(path)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [''.join(f'<th>{html.escape(cell)}</th>' for cell in header)]
    lines += [''.join(f'<td>{html.escape(cell)}</td>' for cell in row) for row in rows]
    return '<table>' + ''.join(f'<tr>{line}</tr>' for line in lines) + '</table>'


_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>mmiformer demo</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff }}
body {{ max-width: 1320px; margin: 2em auto; padding: 0 1em }}
.tables {{ display: flex; flex-wrap: wrap; gap: 1em 3em; align-items: flex-start }}
table {{ border-collapse: collapse }}
th, td {{ padding: .2em .9em .2em 0; text-align: right; border-bottom: 1px solid #ddd }}
th:first-child, td:first-child {{ text-align: left }}
img {{ max-width: 100%; margin-top: 1.5em }}
</style>
<h1>iFormer-T on the embedded data set</h1>
<p>Two networks on the same drawn scenes, trained from random weights: Mask R-CNN finds the objects one by one, Semantic
FPN labels every pixel. The scenes below are held out: neither network has seen them.</p>
<div class="tables">{results}{times}{facts}</div>
<img alt="training curves, scenes, ground truth and predictions" src="data:image/png;base64,{image}">
</html>
"""
