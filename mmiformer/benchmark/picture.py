"""The picture of a benchmark: measured time against published results, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .run import Row

_OURS, _THEIRS = '#4c78a8', '#9a9a9a'


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points (cost, worth) no other one beats, by rising cost.

    A point is beaten by one that costs no more and is worth more, or costs less and is worth no less.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1])):
        last = points[front[-1]] if front else None
        if last is None or points[index][1] > last[1] or points[index] == last:
            front.append(index)
    return front


def draw(rows: Sequence[Row], path: Path) -> bool:
    """Draw a panel for each published metric that two networks have at least, and one of the growth over sizes.

    Args:
        rows: What was measured. The panels of results show the first size and batch.
        path: The PNG to write.

    Returns:
        Whether there was anything to draw.
    """
    first = rows[0]
    shown = [row for row in rows if (row.height, row.width, row.batch) == (first.height, first.width, first.batch)]
    panels = [
        (metric, compared)
        for metric in ('box_AP', 'mIoU')
        if len(compared := [row for row in shown if metric in row.published]) > 1
    ]
    grows = len({(row.height, row.width) for row in rows}) > 1
    if not panels and not grows:
        return False
    figure = Figure(figsize=(6.5 * (len(panels) + grows), 5), dpi=130, layout='constrained')
    axes = figure.subplots(1, len(panels) + grows, squeeze=False)[0]
    for place, (metric, compared) in zip(axes, panels, strict=False):
        _draw_front(place, compared, metric)
    if grows:
        _draw_growth(axes[-1], [row for row in rows if row.batch == first.batch])
    figure.savefig(path, format='png')
    return True


def _draw_front(axes: Axes, rows: Sequence[Row], metric: str) -> None:
    points = [(1000 * row.time.median, row.published[metric]) for row in rows]
    front = [points[index] for index in pareto_front(points)]
    axes.step(*zip(*front, strict=True), where='post', color='black', linewidth=1, linestyle='--', label='Pareto front')
    for row, point in zip(rows, points, strict=True):
        color = _OURS if row.label.startswith('iFormer') else _THEIRS
        axes.plot(*point, 'o', color=color)
        axes.errorbar(
            *point,
            xerr=[[point[0] - 1000 * row.time.low], [1000 * row.time.high - point[0]]],
            color=color,
            linewidth=1,
        )
        axes.annotate(
            row.label, point, xytext=(3, 3), textcoords='offset points', rotation=35, fontsize=8, color=color
        )  # tilted, so that the names of forms of one network, side by side, stay apart
    axes.set(
        xlabel=f'measured ms ({rows[0].batch} x {rows[0].height} x {rows[0].width}), median and quartiles',
        ylabel=f'published {metric.replace("_", " ")}',
    )
    axes.margins(x=0.25, y=0.2)
    axes.legend(loc='lower right', fontsize=9)


def _draw_growth(axes: Axes, rows: Sequence[Row]) -> None:
    for name in dict.fromkeys(row.name for row in rows):
        own = sorted((row for row in rows if row.name == name), key=lambda row: row.height * row.width)
        pixels = [row.height * row.width for row in own]
        axes.plot(pixels, [1000 * row.time.median for row in own], 'o-', label=own[0].label, markersize=4)
    axes.set(xlabel='size of the image', ylabel='measured ms', xscale='log', yscale='log')
    sizes = sorted({(row.height, row.width) for row in rows}, key=lambda size: size[0] * size[1])
    axes.set_xticks([height * width for height, width in sizes], [f'{h} x {w}' for h, w in sizes], minor=False)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter('{x:g}')
    axes.yaxis.set_minor_formatter('{x:g}')
    axes.legend(loc='upper left', fontsize=8)
