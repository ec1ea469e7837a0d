"""What a benchmark leaves: a table, a JSON file and a picture, with the facts of the machine."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import __version__
from ..files import whole_file
from ..report import save_figure
from .run import Row
from .timing import Spread

EQUAL = 1e-5  # a form in float32 whose maps differ by more from the plain network's is not that network


def facts(device: torch.device, **settings: object) -> dict[str, object]:
    """{name: value} of the machine, the software and the settings of a run."""
    found = dict(
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        command=shlex.join(['python', *sys.argv]),
        device=torch.cuda.get_device_name(device) if device.type == 'cuda' else processor(),
        threads=torch.get_num_threads(),
        system=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        mmiformer=__version__,
        **settings,
    )
    if device.type == 'cuda':
        found['tf32'] = torch.backends.cuda.matmul.allow_tf32
    if 'timm' in sys.modules:
        found['timm'] = sys.modules['timm'].__version__
    return found


def processor() -> str:
    """The processor's name."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else ()
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def table(rows: Sequence[Row], baseline: str) -> str:
    """The rows in Markdown; columns in which nothing was measured are left out."""
    sizes = {(row.height, row.width) for row in rows}
    columns: dict[str, Callable[[Row], str | None]] = {
        'network': lambda row: row.name,
        'images': lambda row: f'{row.batch} x {row.height} x {row.width}',
        'params (M)': lambda row: f'{row.parameters / 1e6:.2f}',
        'GMACs': lambda row: f'{row.macs / 1e9:.2f}',
        'ms (quartiles)': lambda row: _spread(row.time, 1000, 1),
        f'time / {baseline}': lambda row: _spread(row.ratio, 1, 3),
        '% of matmul peak': lambda row: _number(row.of_matmul_peak, 0.01, 0),
        'difference': lambda row: f'{row.difference:.1e}',
        'peak MiB': lambda row: _number(row.peak_memory, 2**20),
        'kept MiB': lambda row: _number(row.kept, 2**20),
        'time / at first size': lambda row: _spread(row.growth, 1, 2) if len(sizes) > 1 else None,
        'peak / at first size': lambda row: _number(row.memory_growth, digits=2) if len(sizes) > 1 else None,
        'box AP': lambda row: _number(row.published.get('box_AP')),
        'mask AP': lambda row: _number(row.published.get('mask_AP')),
        'mIoU': lambda row: _number(row.published.get('mIoU')),
    }
    cells = {name: [show(row) for row in rows] for name, show in columns.items()}
    shown = [[name, *(cell or '-' for cell in column)] for name, column in cells.items() if any(column)]
    widths = [max(map(len, column)) for column in shown]
    lines = [
        '| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + ' |'
        for line in zip(*shown, strict=True)
    ]
    return '\n'.join([lines[0], '|' + '|'.join('-' * (width + 2) for width in widths) + '|', *lines[1:]])


def _spread(values: Spread, factor: float, digits: int) -> str:
    low, median, high = (f'{factor * value:.{digits}f}' for value in values)
    return f'{median} ({low} to {high})'


def _number(value: float | None, unit: float = 1, digits: int = 1) -> str | None:
    return None if value is None else f'{value / unit:.{digits}f}'


def page(rows: Sequence[Row], peaks: Mapping[str, float], known: Mapping[str, object]) -> str:
    """The table, what its columns mean, and the :func:`facts` that it was measured with, in Markdown."""
    what = 'forward and backward, frozen batch norms' if known['what'] == 'train' else 'forward'
    peak = ', '.join(f'{value / 1e9:.1f} GMAC/s in {dtype}' for dtype, value in peaks.items())
    parts = [
        f'{known["device"]}, {known["threads"]} threads, torch {known["torch"]}, {known["date"]}',
        f'`{known["command"]}`',
        table(rows, known['baseline']),
        f'Time of one step ({what}): median of {known["rounds"]} rounds; in each, every contestant had its turn, a run '
        'that is not timed and one that is. Ratios are taken within a round. '
        f'Measured peak of large matrix products: {peak}. '
        'Difference: of the maps from the plain network in float32, relative to the largest value of the level. '
        'AP and mIoU are published (Mask R-CNN 1x on COCO, Semantic FPN on ADE20K), not measured.',
    ]
    # `not <=`, so that nan is wrong
    wrong = dict.fromkeys(row.name for row in rows if row.dtype == 'float32' and not row.difference <= EQUAL)
    if wrong:
        parts.append(f'In float32, and yet further than {EQUAL:g} from the plain network: {", ".join(wrong)}.')
    return '\n\n'.join(parts) + '\n'


def write_json(rows: Sequence[Row], peaks: Mapping[str, float], known: Mapping[str, object], path: Path) -> None:
    """Write all that was measured, every single time too, and the :func:`facts`."""
    spreads = ('time', 'ratio', 'growth')
    found = [asdict(row) | {name: getattr(row, name)._asdict() for name in spreads} for row in rows]
    with whole_file(path) as part:
        part.write_text(json.dumps(dict(facts=known, peaks=peaks, rows=found), indent=1) + '\n')


# ---- the picture


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
    """Draw measured time against each published metric that two networks have at least, with the Pareto front.

    Args:
        rows: What was measured; the first size and batch are shown.
        path: The PNG to write.

    Returns:
        Whether there was anything to draw.
    """
    shape = (rows[0].height, rows[0].width, rows[0].batch)
    shown = [row for row in rows if (row.height, row.width, row.batch) == shape]
    panels = {metric: [row for row in shown if metric in row.published] for metric in ('box_AP', 'mIoU')}
    panels = {metric: compared for metric, compared in panels.items() if len(compared) > 1}
    if not panels:
        return False
    figure = Figure(figsize=(6.5 * len(panels), 5), layout='constrained')
    for axes, (metric, compared) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _draw_front(axes, compared, metric)
    save_figure(figure, path)
    return True


def _draw_front(axes: Axes, rows: Sequence[Row], metric: str) -> None:
    points = [(1000 * row.time.median, row.published[metric]) for row in rows]
    front = [points[index] for index in pareto_front(points)]
    axes.step(*zip(*front, strict=True), where='post', color='black', linewidth=1, linestyle='--', label='Pareto front')
    for row, point in zip(rows, points, strict=True):
        color = '#4c78a8' if row.label.startswith('iFormer') else '#9a9a9a'
        spread = [[point[0] - 1000 * row.time.low], [1000 * row.time.high - point[0]]]
        axes.errorbar(*point, xerr=spread, fmt='o', color=color, linewidth=1)
        # tilted, so that the names of forms of one network, side by side, stay apart
        axes.annotate(row.label, point, xytext=(3, 3), textcoords='offset points', rotation=35, fontsize=8, color=color)
    axes.set(
        xlabel=f'measured ms ({rows[0].batch} x {rows[0].height} x {rows[0].width}), median and quartiles',
        ylabel=f'published {metric.replace("_", " ")}',
    )
    axes.margins(x=0.25, y=0.2)
    axes.set_xlim(left=0)
    axes.legend(loc='lower right', fontsize=9)
