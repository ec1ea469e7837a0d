"""What a benchmark leaves: a table, a JSON file and the facts of the machine."""

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

from .. import __version__
from .run import Peaks, Plan, Row
from .timing import Spread

EQUAL = 1e-5  # a form in float32 whose maps differ by more from the plain network's is not that network


def facts(plan: Plan) -> dict[str, object]:
    """{name: value} of the machine, the software and the settings."""
    found = dict(
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        command=shlex.join(['python', *sys.argv]),
        device=torch.cuda.get_device_name(plan.device) if plan.device.type == 'cuda' else _processor(),
        threads=torch.get_num_threads(),
        system=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        mmiformer=__version__,
        what='train' if plan.train else 'infer',
        rounds=plan.rounds,
        warmup=plan.warmup,
        baseline=plan.baseline.name,
    )
    if plan.device.type == 'cuda':
        found['tf32'] = torch.backends.cuda.matmul.allow_tf32
    if 'timm' in sys.modules:
        found['timm'] = sys.modules['timm'].__version__
    return found


def _processor() -> str:
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def table(rows: Sequence[Row], plan: Plan) -> str:
    """The rows in Markdown; columns in which nothing was measured are left out."""
    columns: dict[str, Callable[[Row], str | None]] = {
        'network': lambda row: row.name,
        'images': _images,
        'params (M)': lambda row: f'{row.parameters / 1e6:.2f}',
        'GMACs': lambda row: f'{row.macs / 1e9:.2f}',
        'ms (quartiles)': lambda row: _spread(row.time, 1000, 1),
        f'time / {plan.baseline.name}': lambda row: _spread(row.ratio, 1, 3),
        '% of matmul peak': lambda row: f'{100 * row.of_matmul_peak:.0f}',
        '% of roofline': lambda row: f'{100 * row.of_roofline:.0f}',
        'difference': lambda row: f'{row.difference:.1e}',
        'peak MiB': lambda row: _mebibytes(row.peak_memory),
        'kept MiB': lambda row: _mebibytes(row.kept),
        'box AP': lambda row: _figure(row.published.get('box_AP')),
        'mask AP': lambda row: _figure(row.published.get('mask_AP')),
        'mIoU': lambda row: _figure(row.published.get('mIoU')),
    }
    return _markdown(columns, rows)


def growth_table(rows: Sequence[Row]) -> str:
    """How time and peak memory grow with the size of the image, in Markdown."""
    first = rows[0].height * rows[0].width
    columns: dict[str, Callable[[Row], str | None]] = {
        'network': lambda row: row.name,
        'images': _images,
        'pixels': lambda row: f'x {row.height * row.width / first:.2f}',
        'time': lambda row: f'x {_spread(row.growth, 1, 2)}',
        'peak memory': lambda row: None if row.memory_growth is None else f'x {row.memory_growth:.2f}',
    }
    names = list(dict.fromkeys(row.name for row in rows))
    return _markdown(columns, sorted(rows, key=lambda row: names.index(row.name)))


def _images(row: Row) -> str:
    return f'{row.batch} x {row.height} x {row.width}'


def _spread(values: Spread, factor: float, digits: int) -> str:
    low, median, high = (f'{factor * value:.{digits}f}' for value in values)
    return f'{median} ({low} to {high})'


def _mebibytes(size: int | None) -> str | None:
    return None if size is None else f'{size / 2**20:.1f}'


def _figure(value: float | None) -> str | None:
    return None if value is None else f'{value:.1f}'


def _markdown(columns: Mapping[str, Callable[[Row], str | None]], rows: Sequence[Row]) -> str:
    cells = {name: [show(row) for row in rows] for name, show in columns.items()}
    cells = {
        name: [name, *('-' if value is None else value for value in values)]
        for name, values in cells.items()
        if any(value is not None for value in values)
    }
    widths = {name: max(map(len, values)) for name, values in cells.items()}
    lines = [
        '| ' + ' | '.join(values[index].ljust(widths[name]) for name, values in cells.items()) + ' |'
        for index in range(len(rows) + 1)
    ]
    rule = '|' + '|'.join('-' * (width + 2) for width in widths.values()) + '|'
    return '\n'.join([lines[0], rule, *lines[1:]])


def page(rows: Sequence[Row], peaks: Peaks, plan: Plan, known: Mapping[str, object]) -> str:
    """Tables, what their columns mean, and the :func:`facts` that they were measured with, in Markdown."""
    what = 'forward and backward, frozen batch norms' if plan.train else 'forward'
    peak = ', '.join(f'{value / 1e9:.1f} GMAC/s in {dtype}' for dtype, value in peaks.macs.items())
    parts = [
        f'{known["device"]}, {known["threads"]} threads, torch {known["torch"]}, {known["date"]}',
        f'`{known["command"]}`',
        table(rows, plan),
        f'Time of one step ({what}): median of {plan.rounds} rounds; in each, every contestant ran once, in turns. '
        f'Ratios are taken within a round. Measured peaks: products {peak}; copying {peaks.bytes / 1e9:.1f} GB/s. '
        'Difference: of the maps from the plain network in float32, relative to the largest value of the level. '
        'AP and mIoU are published (Mask R-CNN 1x on COCO, Semantic FPN on ADE20K), not measured.',
    ]
    if wrong := list(dict.fromkeys(row.name for row in rows if _is_wrong(row))):
        parts.append(f'In float32, and yet further than {EQUAL:g} from the plain network: {", ".join(wrong)}.')
    if len(plan.sizes) > 1:
        height, width = plan.sizes[0]
        parts += [f'Growth from {height} x {width}:', growth_table(rows)]
    return '\n\n'.join(parts) + '\n'


def _is_wrong(row: Row) -> bool:
    return row.dtype == 'float32' and not row.difference <= EQUAL  # so that nan is wrong


def write_json(rows: Sequence[Row], peaks: Peaks, known: Mapping[str, object], path: Path) -> None:
    """Write all that was measured, every single time too, and the :func:`facts`."""
    found = []
    for row in rows:
        values = asdict(row)
        for name in ('time', 'ratio', 'growth'):
            values[name] = getattr(row, name)._asdict()
        found.append(values)
    path.write_text(json.dumps(dict(facts=known, peaks=asdict(peaks), rows=found), indent=1) + '\n')
