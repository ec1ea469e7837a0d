"""Which numbers in label maps are no class: `reduce_zero_label` and `ignore_index`, each in several places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..engine.config import kind
from .dataset import DataConfig
from .findings import Finding
from .heads import class_counts, is_head
from .parts import model_argument


def check_ignored(
    model: Mapping[str, Any],
    scope: str,
    data: Mapping[str, DataConfig],
    trained: Mapping[str, DataConfig],
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Iterator[Finding]:
    """Check that all parts of a semantic segmentation leave out the same pixels.

    Args:
        model: The config's `model`.
        scope: The toolbox that its types are of.
        data: The data sets of the run, by place.
        trained: Those of the config's training.
        metrics: The metrics, by key of the config.
    """
    data = {where: one for where, one in data.items() if one.is_a('BaseSegDataset')}
    if not data:
        return
    reduces = {where: bool(one.get('reduce_zero_label', False)) for where, one in data.items()}
    for where, one in data.items():
        for load in one.transforms('LoadAnnotations'):
            said = load.get('reduce_zero_label')
            if said is not None and bool(said) != reduces[where]:
                yield Finding(
                    'error',
                    where,
                    f'reduce_zero_label={reduces[where]}, and {said} in its LoadAnnotations',
                    'Set it to None there, so that it follows the data set, and for the data set to True if 0 is no '
                    'class in the label maps, to False if 0 is the first class.',
                )
    first = next(iter(data))
    known = {where: one for where, one in {**trained, **data}.items() if one.is_a('BaseSegDataset')}
    reference = next(iter(known))
    reduced = bool(known[reference].get('reduce_zero_label', False))
    for where, one in data.items():
        if reduces[where] != reduced:
            yield Finding(
                'error' if one.root == known[reference].root else 'warning',
                where,
                f'reduce_zero_label={reduces[where]}, and {reduced} for {reference}',
                'Set both to True if 0 is no class in the label maps, to False if 0 is the first class.',
            )
    for key, several in metrics.items():
        for metric in several:
            if metric.get('reduce_zero_label', reduces[first]) != reduces[first]:
                yield Finding(
                    'warning',
                    key,
                    f'reduce_zero_label={metric["reduce_zero_label"]} is not read by a {kind(metric)}, and {first} has '
                    f'{reduces[first]}',
                    'Leave it out here; the data set decides.',
                )
    yield from _check_index(model, scope, data[first], reduces[first], metrics)


def _check_index(model, scope, data: DataConfig, reduces: bool, metrics) -> Iterator[Finding]:
    heads = {
        f'model.{path}': head['ignore_index'] if 'ignore_index' in head else model_argument(head, scope, 'ignore_index')
        for path, head in class_counts(model, scope)
        if is_head(path, head)
    }
    heads = {path: index for path, index in heads.items() if index is not None}
    if not heads:
        return
    place, index = next(iter(heads.items()))
    for other, value in heads.items():
        if value != index:
            yield Finding(
                'error', other, f'ignore_index={value}, and {index} in {place}', 'Set both to the number of no class.'
            )
    if reduces and index != 255:
        yield Finding(
            'error',
            place,
            f'ignore_index={index}, but reduce_zero_label=True turns 0, no class, into 255',
            'Leave ignore_index at 255, or set reduce_zero_label=False if 0 is a class.',
        )
        return
    classes = data.classes or ()
    if 0 <= index < len(classes):
        yield Finding('warning', place, f'ignore_index={index} is the class {classes[index]!r}: it is not learned', '')
    padded = (model.get('data_preprocessor') or {}).get('seg_pad_val', 255)
    if padded != index:
        yield Finding(
            'warning',
            'model.data_preprocessor',
            f'seg_pad_val={padded}, and ignore_index={index} in {place}: padding counts',
            f'Set seg_pad_val={index}.',
        )
    for key, several in metrics.items():
        for metric in several:
            if kind(metric) in ('IoUMetric', 'ClassIoU') and metric.get('ignore_index', 255) != index:
                yield Finding(
                    'warning',
                    key,
                    f'ignore_index={metric.get("ignore_index", 255)}, and {index} in {place}: pixels of no class count',
                    f'Set ignore_index={index}.',
                )
