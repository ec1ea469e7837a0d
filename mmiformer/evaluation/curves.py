"""Curves of a training, from the scalars that MMEngine writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import MissingFile, UserError
from .tables import summarize

Points = dict[int, float]  # by iteration

_COLORS = {'box AP': '#4c78a8', 'mask AP': '#e45756', 'mIoU': '#54a24b'}


@dataclass(frozen=True)
class Curves:
    """What was logged during a training.

    Attributes:
        loss: The sum of the losses.
        figures: {'box AP', 'mask AP' or 'mIoU': points} of the evaluations in between, in percent.
    """

    loss: Points
    figures: dict[str, Points]


def read_curves(work_dir: Path) -> Curves:
    """Read the curves of a training. Where it was resumed, the later run counts.

    Args:
        work_dir: Its work directory.

    Raises:
        MissingFile: It holds no scalars.
        UserError: What it holds are no scalars.
    """
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))  # the folders are named by time
    if not files:
        raise MissingFile(f'{work_dir} holds no run: no */vis_data/scalars.json')
    loss, figures, ends = {}, {}, {}
    for file in files:
        for line in file.read_text(errors='replace').splitlines():
            try:
                scalars = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            try:
                step = int(scalars['step'])
                if 'loss' in scalars:
                    loss[step] = float(scalars['loss'])
                    ends[scalars.get('epoch')] = step
                for name, value in summarize(scalars).items():
                    if name in _COLORS and value is not None:
                        # epoch-based training counts its evaluations in epochs
                        figures.setdefault(name, {})[ends.get(step, step)] = value
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise UserError(f'{file} is no log of a training: it has the line {line:.80}') from error
    if not loss and not figures:
        raise MissingFile(f'{work_dir} holds a run that has logged no loss and no result yet')
    return Curves(dict(sorted(loss.items())), {name: dict(sorted(points.items())) for name, points in figures.items()})


def draw_curves(axes: Axes, curves: Curves) -> None:
    """Draw the loss, and on an axis of their own the figures."""
    axes.plot(list(curves.loss), list(curves.loss.values()), color='#9a9a9a', label='training loss')
    axes.set(xlabel='iteration', ylabel='training loss', ylim=(0, None))
    percent = axes.twinx()
    percent.set(ylabel='%, held out', ylim=(0, 100))
    for name, points in curves.figures.items():
        percent.plot(list(points), list(points.values()), 'o-', color=_COLORS[name], markersize=4, label=name)
    lines = axes.get_lines() + percent.get_lines()
    percent.legend(handles=lines, loc='upper center', ncols=len(lines), fontsize=9)  # the loss begins on the left


def draw_runs(runs: Mapping[str, Curves]) -> Figure:
    """Draw several trainings over each other: the loss, and beside it each figure that was evaluated."""
    names = [name for name in _COLORS if any(name in curves.figures for curves in runs.values())]
    figure = Figure(figsize=(5.2 * (1 + len(names)), 4.2), layout='constrained')
    loss, *others = figure.subplots(1, 1 + len(names), squeeze=False)[0]
    for curves in runs.values():
        loss.plot(list(curves.loss), list(curves.loss.values()), linewidth=1)
        for axes, name in zip(others, names, strict=True):
            points = curves.figures.get(name, {})
            axes.plot(list(points), list(points.values()), 'o-', markersize=4)
    loss.set(xlabel='iteration', ylabel='training loss', ylim=(0, None))
    for axes, name in zip(others, names, strict=True):
        axes.set(xlabel='iteration', ylabel=f'{name}, %')
    figure.legend(loss.get_lines(), list(runs), loc='outside lower center', ncols=min(3, len(runs)), fontsize=9)
    return figure
