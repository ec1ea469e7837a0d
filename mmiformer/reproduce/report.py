"""The report of a table: its cells, each from a source of its own, pictures, and the runs behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ..benchmark.report import pareto_front
from ..errors import MissingFile, UserError
from ..evaluation.curves import draw_runs, read_curves
from ..files import read_json, whole_file
from ..paper import TABLE_17
from ..report import markdown, picture, save_figure, side_by_side, table, write_page
from .measuring import ATTENTIONS
from .results import Cell, Result, cell, differs
from .rows import ABLATION_NUMBERS, TASKS, Row, rows_of

FIGURES = tuple(name for task in TASKS.values() for name in task.figures)
COLUMNS = ('backbone', 'source', 'params (M)', 'ms', *(name.replace('_', ' ') for name in FIGURES))
SHOWN = ('box_AP', 'mask_AP', 'mIoU', 'top1')  # where there is little room
LEGEND = (
    'Lines called "paper" are printed there; "published", where it differs, is what the makers of a checkpoint report. '
    'All others were measured here: "backbone" is the network of the config without its classifier, "evaluated" a '
    'published checkpoint, "trained" a training of our own, several seeds as mean ± standard deviation. '
    "≠: further from the published figure than the field's spread, which is 0.1 for a checkpoint evaluated again "
    '(from its own published score), 0.3 AP for a training on COCO, 0.2 % for one on ImageNet, on ADE20K 1.0 mIoU '
    'for one training or 0.8 for a mean of three. ms: of the paper, on an iPhone 13, for Tables 5 and 13 at '
    '512 x 512; here, of the backbone in its fastest form in float32 on the machine named below.'
)
NOTES = {
    'efficientmod_s_conv': 'EfficientMod-S: by its figures this row is EfficientMod-s-Conv; its 32.6 M are a detector.',
    'iformer_l2': 'iFormer-L2: the 9.06 ms belong to a network with fewer channels, which is measured beside it.',
}


class Line(NamedTuple):
    """A line of the table.

    Attributes:
        cells: As text.
        kind: 'paper', 'published', 'measured', or 'nothing' where nothing has been measured.
    """

    cells: tuple[str, ...]
    kind: str


def lines_of(row: Row, results: Sequence[Result], measured: Sequence[Mapping[str, Any]] = ()) -> list[Line]:
    """The lines of a row: what is printed, what is published of its checkpoints, and what was measured here.

    Args:
        row: The row.
        results: All results, the newest first.
        measured: The entries of a measurement of the backbones.
    """
    lines = []
    published = {name: value for one in row.checkpoints.values() for name, value in one.result.items()}
    if row.printed:
        printed = row.printed._asdict()
        cells = [_cost(row.printed.params), _cost(row.printed.latency)]
        lines.append(_line(row, 'paper', 'paper', *cells, {name: _show(printed[name]) for name in row.figures}))
        if any(printed[name] != value for name, value in published.items()):
            own = {name: f'{value:g}' for name, value in published.items()}
            lines.append(_line(row, 'published', 'published', '', '', own))
    if forms := [one for one in measured if one['key'] == row.key]:
        params, ms = f'{forms[0]["params"] / 1e6:.2f}', f'{fastest(forms)["ms"][1]:.1f}'
        lines.append(_line(row, 'backbone', 'measured', params, ms, {}))
    if row.checkpoints:
        figures = _figures(row, results, 'evaluated', published)
        lines.append(_line(row, 'evaluated', 'measured', '', '', figures))
    if row.configs:
        figures = _figures(row, results, 'trained', row.printed._asdict() if row.printed else {})
        lines.append(_line(row, 'trained', 'measured', '', '', figures))
    return [line._replace(cells=('', *line.cells[1:])) if index else line for index, line in enumerate(lines)]


def columns(rows: Sequence[Row]) -> tuple[str, ...]:
    """The header of lines of some rows."""
    return (*COLUMNS[:4], *(name.replace('_', ' ') for name in rows[0].figures))


def _line(row: Row, source: str, kind: str, params: str, ms: str, figures: Mapping[str, str]) -> Line:
    if kind == 'measured' and not params and not any(text[:1].isdigit() for text in figures.values()):
        kind = 'nothing'
    return Line((row.title, source, params, ms, *(figures.get(name, '') for name in row.figures)), kind)


def _cost(value: float | None) -> str:
    return '-' if value is None else 'failed' if math.isinf(value) else f'{value:g}'


def _figures(row: Row, results: Sequence[Result], kind: str, published: Mapping[str, float]) -> dict[str, str]:
    """The text of the cells of a kind."""
    found = {}
    for task in row.tasks.values():
        one = cell(results, row.key, task.key, kind)
        for name in task.figures:
            if one:
                found[name] = _measured(one, name, published)
        if not one:
            missing = kind == 'evaluated' and task.key not in row.checkpoints
            found[task.figures[0]] = 'no weights' if missing else 'not run' if task.key in row.configs else 'no config'
    return found


def _measured(one: Cell, name: str, published: Mapping[str, float]) -> str:
    if name not in one.mean:
        return '-'
    text = f'{one.mean[name]:.1f}'
    if name in one.deviation:
        text += f' ± {one.deviation[name]:.1f} ({len(one.runs)})'
    return text + (' ≠' if differs(one, name, published) else '')


def _show(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'


def fastest(entries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The fastest entry that computes in float32."""
    return min((one for one in entries if 'bf16' not in one['form']), key=lambda one: one['ms'][1])


def latencies(out: Path) -> str:
    """Latencies of the ablations, the paper's and as they were measured last, in Markdown.

    Args:
        out: Folder of the reports.

    Raises:
        MissingFile: None was measured.
    """
    body = []
    for name, number in ABLATION_NUMBERS.items():
        for file in sorted(folder_of(out, name).glob('measured-*.json'))[-1:]:
            entries = read_json(file)['entries']
            for row in rows_of(number):
                if forms := [one for one in entries if one['key'] == row.key]:
                    body.append((name, row.title, _cost(row.printed.latency), f'{fastest(forms)["ms"][1]:.1f}'))
    if not body:
        raise MissingFile(f'{out} has no measurement of an ablation: run tools/reproduce.py 7 --measure, for example')
    return markdown(('', '', 'iPhone 13 (ms)', 'here (ms)'), body)


# ---- the files


def folder_of(out: Path, title: str) -> Path:
    """The folder of a table's report, among all of them."""
    return out / title.lower().replace(' ', '')


def write_report(
    folder: Path, title: str, rows: Sequence[Row], results: Sequence[Result], measurements: Sequence[Path], runs: Path
) -> None:
    """Write report.md, report.html and the pictures of Table 5, of Table 13 or of rows of one's own.

    Args:
        folder: Where to.
        title: The heading.
        rows: The rows.
        results: All results, the newest first.
        measurements: Files of measurements, the newest first. The first is shown, the others are named.
        runs: The folder of the runs, finished or not.
    """
    measured = read_json(measurements[0]) if measurements else dict(entries=[])
    lines = [line for row in rows for line in lines_of(row, results, measured['entries'])]
    keys = {row.key for row in rows}
    shown = [one for one in results if one.row in keys]
    parts = [(columns(rows), [line.cells for line in lines], [_LOOK[line.kind] for line in lines])]
    figures = draw_pictures(folder, rows, results, measured['entries'], runs)
    notes = [LEGEND, *(NOTES[row.key] for row in rows if row.key in NOTES)]
    _write(
        folder,
        title,
        notes,
        [*parts, *_measurement(measured, measurements), *_pages(folder), _run_list(rows, results, shown)],
        figures,
    )


_LOOK = dict(paper='', published='', measured='strong', nothing='faint')
Part = tuple[Sequence[str], Sequence[Sequence[str]], Sequence[str]]


def _measurement(measured: Mapping[str, Any], files: Sequence[Path]) -> list[Part]:
    """Every form that was measured, and with what."""
    if not files:
        return []
    size = measured['entries'][0]['size']
    height, width = size if isinstance(size, list) else (size, size)
    entries = [
        (
            one['title'],
            one['form'],
            f'{one["params"] / 1e6:.2f}',
            f'{one["macs"] / 1e9:.2f}',
            '{1:.1f} ({0:.1f} to {2:.1f})'.format(*one['ms']),
            f'{one["difference"]:.0e}',
        )
        for one in measured['entries']
    ]
    header = (
        f'network, one image of {height} x {width}',
        'form',
        'params (M)',
        'GMACs',
        'ms (quartiles)',
        'difference',
    )
    return [(header, entries, ()), _facts(measured, files)]


def _pages(folder: Path) -> list[Part]:
    """What the page of `tools/export.py --to web` measured on other devices: web-NAME.json in the report's folder."""
    parts = []
    for path in sorted(folder.glob('web-*.json')):
        try:
            parts += _measurement(read_json(path), [path])
        except (ValueError, TypeError, LookupError) as error:
            raise UserError(f'{path} is not what the page of tools/export.py --to web copies: {error!r}') from error
    return parts


def _facts(measured: Mapping[str, Any], files: Sequence[Path]) -> Part:
    found = dict(measured['facts'], file=files[0].name)
    if files[1:]:
        found['earlier'] = ', '.join(path.name for path in files[1:])
    return ('measured with', ''), [(name, str(value)) for name, value in found.items()], ()


def _run_list(rows: Sequence[Row], results: Sequence[Result], shown: Sequence[Result]) -> Part:
    """All runs, those that stand in the table and older ones."""
    cells = (
        cell(results, row.key, task, kind) for row in rows for task in row.tasks for kind in ('evaluated', 'trained')
    )
    in_table = {id(run) for one in cells if one for run in one.runs}
    body = [
        (
            one.row,
            one.task,
            one.kind,
            'yes' if id(one) in in_table else 'no',
            ' / '.join(_show(one.figures[name]) for name in SHOWN if name in one.figures),
            one.config_hash,
            one.commit,
            str(one.batch),
            '' if one.seed is None else str(one.seed),
            '' if one.hours is None else f'{one.hours:.2f}',
            one.date,
            ', '.join(one.machine['gpus']) or one.machine['processor'],
        )
        for one in shown
    ]
    header = (
        'run',
        'task',
        'kind',
        'in the table',
        'AP, mIoU, top-1',
        'config',
        'commit',
        'batch',
        'seed',
        'hours',
        'ended',
    )
    return (*header, 'machine'), body, ()


def write_table_17(folder: Path, measurements: Sequence[Path]) -> None:
    """Write report.md and report.html of Table 17."""
    measured = read_json(measurements[0]) if measurements else dict(entries=[])
    sizes = dict.fromkeys([*(size for _, size in TABLE_17), *(one['size'] for one in measured['entries'])])
    body = []
    for name in ATTENTIONS:
        for size in sizes:
            printed = TABLE_17.get((name, size))
            forms = {one['form']: one for one in measured['entries'] if (one['key'], one['size']) == (name, size)}
            plain, export = forms.get('plain'), forms.get('export')
            operators = export['operators'] if export else {}
            moved = sum(number for operator, number in operators.items() if operator.split('.')[0] in MOVING)
            body.append(
                (
                    name,
                    str(size),
                    '-' if printed is None else 'failed' if math.isinf(printed) else f'{printed:g}',
                    *(
                        '{1:.1f} ({0:.1f} to {2:.1f})'.format(*one['ms']) if one else 'not run'
                        for one in (plain, export)
                    ),
                    *(
                        f'{one["peak_memory"] / 2**20:.0f}' if one and one['peak_memory'] else 'not run'
                        for one in (plain, export)
                    ),
                    f'{sum(operators.values())} ({moved})' if export else 'not run',
                )
            )
    header = ('attention', 'size', 'paper, ms on an iPhone 13', 'ms, plain (quartiles)', 'ms, export form')
    header += ('peak MiB, plain', 'peak MiB, export form', 'operators (that move data)')
    note = (
        'iFormer-M on one image. The column "paper" is printed; all others were measured on the machine named below. '
        'Operators are those of the graph that torch exports from the export form; in brackets those that only move '
        f'data: {", ".join(MOVING)}.'
    )
    parts = [(header, body, ())] + ([_facts(measured, measurements)] if measurements else [])
    _write(folder, 'Table 17', [note], parts, {})


MOVING = ('reshape', 'transpose', 'permute', 'view', 'flatten', 'chunk', 'cat', 'slice', 'pad')


def _write(folder: Path, title: str, notes: Sequence[str], parts: Sequence[Part], figures: Mapping[str, Path]) -> None:
    parts = [part for part in parts if part[1]]
    html = [*(f'<p>{escape(note)}</p>' for note in notes)]
    html += [side_by_side(table(*parts[0]))] if parts else []
    html += [picture(png, name) for name, png in figures.items()]
    html += [side_by_side(table(*part)) for part in parts[1:]]
    write_page(folder / 'report.html', title, *html)
    text = [f'# {title}', *notes, *(markdown(*part[:2]) for part in parts[:1])]
    text += [f'![{name}]({png.name})' for name, png in figures.items()]
    with whole_file(folder / 'report.md') as file:
        file.write_text('\n\n'.join([*text, *(markdown(*part[:2]) for part in parts[1:])]) + '\n')


# ---- pictures


def draw_pictures(
    folder: Path, rows: Sequence[Row], results: Sequence[Result], measured: Sequence[Mapping[str, Any]], runs: Path
) -> dict[str, Path]:
    """Draw figures against latency, and the curves of all trainings. Returns {what it is: PNG}."""
    pictures = {}
    phone = {
        row.key: row.printed.latency
        for row in rows
        if row.printed and row.printed.latency is not None and math.isfinite(row.printed.latency)
    }
    here = {
        row.key: fastest(forms)['ms'][1]
        for row in rows
        if (forms := [one for one in measured if one['key'] == row.key])
    }
    costs = {'ms on an iPhone 13, published': phone, 'ms on this machine, measured': here}
    costs = {name: cost for name, cost in costs.items() if cost}
    names = [name for name in ('box_AP', 'mIoU', 'top1') if name in rows[0].figures]
    if costs:
        figure = Figure(figsize=(14, 6.5 * len(costs)), layout='constrained')
        for axes_of_cost, (label, cost) in zip(
            figure.subplots(len(costs), len(names), squeeze=False), costs.items(), strict=True
        ):
            for axes, name in zip(axes_of_cost, names, strict=True):
                _draw_front(axes, rows, results, cost, name, label)
        pictures[f'{" and ".join(names)} against latency, with the Pareto front'.replace('_', ' ')] = path = (
            folder / 'latency.png'
        )
        save_figure(figure, path)
    for task in rows[0].tasks.values():
        curves = {}
        for row in rows:
            for run in sorted(runs.glob(f'{task.key}-{row.key}-*-seed*')):
                try:
                    curves[run.name.removeprefix(f'{task.key}-')] = read_curves(run / 'train')
                except MissingFile:  # it has not logged anything yet
                    continue
        if curves:
            pictures[f'Trainings: {task.title}'] = path = folder / f'curves_{task.key}.png'
            save_figure(draw_runs(curves), path)
    return pictures


def _draw_front(
    axes: Axes, rows: Sequence[Row], results: Sequence[Result], cost: Mapping[str, float], name: str, label: str
) -> None:
    task = next(task.key for task in rows[0].tasks.values() if name in task.figures)
    points, marks = [], []
    for row in rows:
        one = cell(results, row.key, task, 'trained') or cell(results, row.key, task, 'evaluated')
        here = bool(one and name in one.mean)
        value = one.mean[name] if here else getattr(row.printed, name, None)
        if value is not None and row.key in cost:
            points.append((cost[row.key], value))
            marks.append((row, here))
    axes.set(xlabel=label, ylabel=f'{name.replace("_", " ")} (filled: measured, hollow: published)')
    if not points:
        return
    front = [points[index] for index in pareto_front(points)]
    axes.step(*zip(*front, strict=True), where='post', color='black', linewidth=1, linestyle='--', label='Pareto front')
    for point, (row, here) in zip(points, marks, strict=True):
        color = '#4c78a8' if row.key.startswith('iformer_') else '#7a7a7a'
        axes.plot(*point, 'o', color=color, fillstyle='full' if here else 'none')
        axes.annotate(row.title, point, xytext=(5, 4), textcoords='offset points', fontsize=8, color=color)
    axes.set_xscale('log')
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_formatter('')
    axes.margins(x=0.25, y=0.12)
    axes.legend(loc='lower right', fontsize=9)
