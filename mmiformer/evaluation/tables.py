"""The figures of an evaluation as one table, and as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files import whole_file

# Name in the table and in the JSON -> name in CocoMetric.
COCO_COLUMNS = dict(AP='mAP', AP50='mAP_50', AP75='mAP_75', APs='mAP_s', APm='mAP_m', APl='mAP_l')
COCO_ROWS = dict(box='bbox', mask='segm')
SEGMENTATION = ('mIoU', 'mAcc', 'aAcc')
CLASSIFICATION = ('top1', 'top5')  # of mmpretrain's Accuracy, there with a prefix


def summarize(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Name an evaluation's figures as papers do, in percent.

    Args:
        metrics: What MMEngine's Runner returns: fractions by CocoMetric, percent by IoUMetric and Accuracy.

    Returns:
        `{'box AP': 40.8, 'box AP50': ..., 'mask AP': ...}` or `{'mIoU': 42.4, 'mAcc': ..., 'aAcc': ...}`
        or `{'top1': 80.4, 'top5': ...}`; None
        where the ground truth has nothing to measure (CocoMetric's -1). Figures of other metrics keep their names
        and units.
    """
    summary, rest = {}, dict(metrics)
    for row, kind in COCO_ROWS.items():
        for column, name in COCO_COLUMNS.items():
            if (value := rest.pop(f'coco/{kind}_{name}', None)) is not None:
                summary[f'{row} {column}'] = None if value < 0 else round(100 * value, 1)
    for name in SEGMENTATION:
        if (value := rest.pop(name, None)) is not None:
            summary[name] = None if math.isnan(value) else round(float(value), 2)
    for name in CLASSIFICATION:
        if (value := rest.pop(f'accuracy/{name}', None)) is not None:
            summary[name] = round(float(value), 2)
    return {**summary, **{name: float(value) for name, value in rest.items()}}


def nothing_detected(metric: Mapping, metrics: Mapping[str, float]) -> dict[str, float]:
    """The figures of a detector without a single detection, for which CocoMetric returns none: they are 0.

    By size they are left out, since whether there is ground truth of each size is not known here.

    Args:
        metric: The CocoMetric's config.
        metrics: What MMEngine's Runner returns.

    Returns:
        Empty if there was a detection.
    """
    prefix, kinds = metric.get('prefix') or 'coco', metric.get('metric', 'bbox')  # CocoMetric's defaults
    if metric.get('format_only') or any(name.startswith(f'{prefix}/') for name in metrics):
        return {}
    kinds = [kinds] if isinstance(kinds, str) else kinds
    names = [f'{k}_{name}' for k in kinds if k in COCO_ROWS.values() for name in ('mAP', 'mAP_50', 'mAP_75')]
    names += [f'AR@{number}' for number in (100, 300, 1000) if 'proposal' in kinds]
    return {f'{prefix}/{name}': 0.0 for name in names}


def format_table(summary: Mapping[str, float | None]) -> str:
    """Lay out :func:`summarize`'s figures: for COCO a row for boxes and one for masks, otherwise one row."""
    columns = [c for c in COCO_COLUMNS if any(f'{row} {c}' in summary for row in COCO_ROWS)]
    rows = [
        [row, *(_show(summary.get(f'{row} {c}')) for c in columns)]
        for row in COCO_ROWS
        if any(f'{row} {c}' in summary for c in columns)
    ]
    coco = {f'{row} {c}' for row in COCO_ROWS for c in columns}
    others = [name for name in summary if name not in coco]
    parts = [_grid(['%', *columns], rows)] if rows else []
    if others:
        unit = ['%'] if set(others) <= {*SEGMENTATION, *CLASSIFICATION} else []
        parts.append(_grid([*unit, *others], [['all'] * len(unit) + [_show(summary[name], 2) for name in others]]))
    return '\n'.join(parts)


def format_classes(by_class: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out figures by class, `{class: {'IoU': percent, 'Acc': percent}}`, one class a row."""
    names = list(next(iter(by_class.values())))
    return _grid(['class', *names], [[label, *(_show(row[n], 2) for n in names)] for label, row in by_class.items()])


def write_json(path: Path, content: Mapping) -> None:
    """Write a report, with null for what is not a number."""
    with whole_file(path) as part:
        part.write_text(json.dumps(_plain(content), indent=2) + '\n')


def _plain(value):
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(value: float | None, digits: int = 1) -> str:
    return '-' if value is None or math.isnan(value) else f'{value:.{digits}f}'


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    pads = [str.ljust] + [str.rjust] * (len(header) - 1)
    lines = [
        '  '.join(pad(cell, width) for pad, cell, width in zip(pads, line, widths, strict=True)).rstrip()
        for line in (header, *rows)
    ]
    return '\n'.join([lines[0], '-' * max(map(len, lines)), *lines[1:]])
