"""The images and categories by which a metric evaluates are those of the data set."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import MODELS

from ..datasets.coco_file import CocoFile, read_coco
from ..engine.config import kind
from ..errors import UserError, few
from .dataset import DataConfig
from .findings import Finding
from .parts import find_type

IOU_METRICS = ('mIoU', 'mDice', 'mFscore')
IOU_KEYS = ('type', 'iou_metrics', 'ignore_index', 'nan_to_num', 'beta', 'output_dir', 'format_only', 'prefix')


def check_evaluator(
    where: str, metrics: Sequence[Mapping[str, Any]], data: Mapping[str, DataConfig], model: Mapping[str, Any]
) -> Iterator[Finding]:
    """Check an evaluator against the data sets that it evaluates on.

    Args:
        where: Its key in the config.
        metrics: Its metrics.
        data: The data sets, by place; an evaluator of several data sets has a metric for each.
        model: The config's `model`.
    """
    for number, metric in enumerate(metrics):
        kinds = [metric['metric']] if isinstance(metric.get('metric'), str) else metric.get('metric') or []
        if 'segm' in kinds and _has_boxes_alone(model):
            yield Finding(
                'error', where, "metric has 'segm', and the model no mask head", f"Set {where}.metric='bbox'."
            )
        is_iou = str(metric.get('type')).endswith('IoUMetric')
        for key in metric if is_iou else ():  # it takes any keys
            if key not in IOU_KEYS and (near := difflib.get_close_matches(key, IOU_KEYS, n=1, cutoff=0.85)):
                yield Finding('error', f'{where}.{key}', 'IoUMetric does not read it', f'Did you mean {near[0]}?')
        asked = metric.get('iou_metrics') or () if is_iou else ()
        if unknown := {*([asked] if isinstance(asked, str) else asked)} - {*IOU_METRICS}:
            what = f'IoUMetric has no {few(sorted(map(str, unknown)))}'  # which it would say after the evaluation
            yield Finding('error', where, what, f'Set {where}.iou_metrics to some of {", ".join(IOU_METRICS)}.')
        file = metric.get('ann_file')
        if not isinstance(file, str) or '://' in file or metric.get('format_only'):
            continue
        datasets = list(data.items())
        if len(metrics) == len(datasets) > 1:
            datasets = [datasets[number]]
        if not os.path.isfile(file):
            own = datasets[0][1].annotations if datasets else ''
            if not (own and os.path.abspath(file) == os.path.abspath(own)):  # the data set says it, and what to do
                yield Finding(
                    'error',
                    where,
                    f'the annotation file is missing: {os.path.abspath(file)}',
                    f'Set {where}.ann_file={own or "FILE"}.',
                )
        elif datasets and all(one.is_a('CocoDataset') and not one.is_remote for _, one in datasets):
            yield from _compare_file(where, kind(metric), file, datasets)


def _has_boxes_alone(model: Mapping[str, Any]) -> bool:
    """Whether a detector is known to make no masks."""
    heads = [key for key, part in model.items() if key.endswith('head') and part and key != 'rpn_head']
    part = model.get('roi_head') or model.get('bbox_head')
    if len(heads) != 1 or not isinstance(part, Mapping) or 'type' not in part:
        return False
    if heads == ['roi_head']:
        return not part.get('mask_head') and kind(part) in ('StandardRoIHead', 'CascadeRoIHead', 'DynamicRoIHead')
    cls = find_type(part, MODELS, 'mmdet')
    return str(getattr(cls, '__module__', '')).startswith('mmdet.') and 'Ins' not in cls.__name__  # RTMDetIns...


def _compare_file(where: str, metric: str, file: str, datasets: Sequence[tuple[str, DataConfig]]) -> Iterator[Finding]:
    """Compare the file of a metric with what its data sets read."""
    files = [one.annotations for _, one in datasets]
    if not all(map(os.path.isfile, files)):
        return  # the check of the data tells
    places = ' and '.join(place for place, _ in datasets)
    try:
        evaluated, read = read_coco(file), [read_coco(name) for name in files]
    except UserError as error:
        yield Finding('error', where, str(error))
        return
    ids = [_used(coco, one) for coco, (_, one) in zip(read, datasets, strict=True)]
    used = set().union(*ids)
    same = len(files) == 1 and os.path.samefile(file, files[0])
    advice = f'Set {where}.ann_file={files[0]}, the file of the data set.'
    if same:
        advice = 'Let the data set read all images: test_mode=True, and neither indices nor filter_cfg.'
    elif len(files) > 1:
        advice = f'Write one file of all images of {places}, or evaluate each data set on its own.'
    if sum(map(len, ids)) > len(used):
        yield Finding('error', where, f'{places} give the same ids to different images', 'Number the images through.')
    if missing := set(evaluated.image_ids) - used:
        yield Finding(
            'error',
            where,
            f'{len(missing)} of the {len(evaluated.image_ids)} images of {file} are not read by {places}, and all in '
            f'them would count as missed: id {few(_sorted(missing))}',
            advice,
        )
    if unknown := used - set(evaluated.image_ids):
        yield Finding(
            'error',
            where,
            f'{len(unknown)} of the {len(used)} images of {places} are not in {file}: id {few(_sorted(unknown))}',
            advice,
        )
    names = dict(zip(evaluated.image_ids, evaluated.images, strict=True))
    for coco in read:
        others = [
            f'{one} is {name} and there {names[one]}'
            for one, name in zip(coco.image_ids, coco.images, strict=True)
            if Path(names.get(one, name)).stem != Path(name).stem
        ]
        if others and _annotations(coco) != _annotations(evaluated):
            yield Finding(
                'error', where, f'{len(others)} ids are of other images than in {file}: {few(others, 2)}', advice
            )
    yield from _compare_categories(where, metric, evaluated, datasets, advice)
    if same:
        yield Finding('fact', where, f'{len(used)} images, by the file of the data set')
    elif not missing and not unknown:
        yield Finding('fact', where, f'{len(used)} images, by another file than the data set with the same ids')


def _annotations(coco: CocoFile) -> set[tuple]:
    return {*zip(coco.references['image_id'], map(tuple, coco.boxes.tolist()), strict=True)}


def _compare_categories(
    where: str, metric: str, evaluated: CocoFile, datasets: Sequence[tuple[str, DataConfig]], advice: str
) -> Iterator[Finding]:
    """Compare the categories of a metric's file, which number the predictions, with the classes of its data sets."""
    for place, data in datasets:
        # Of a panoptic segmentation CocoMetric evaluates the things.
        classes = metric != 'CocoPanopticMetric' and data.meta.get('thing_classes') or data.classes
        if not classes or isinstance(classes, str) or os.path.samefile(evaluated.path, data.annotations):
            continue
        numbered = [name for name in evaluated.categories if name in {*classes}]
        if numbered != list(classes):
            absent = [name for name in classes if name not in numbered]
            label = next((i for i, (a, b) in enumerate(zip(classes, numbered, strict=False)) if a != b), 0)
            yield Finding(
                'error',
                where,
                f'{len(absent)} of the {len(classes)} classes of {place} are no category of {evaluated.path}: '
                f'{few(absent)}'
                if absent
                else f'the categories of {evaluated.path} come in another order than the classes of {place}: label '
                f'{label} is {numbered[label]!r} and there {classes[label]!r}',
                advice,
            )


def _used(coco: CocoFile, data: DataConfig) -> set:
    """Ids of the images that a data set reads of its file."""
    keep = np.ones(len(coco.image_ids), bool)
    if not data.get('test_mode', False) and (rules := data.get('filter_cfg')):
        if rules.get('filter_empty_gt'):
            known = [name in {*(data.classes or coco.categories)} for name in coco.categories]
            ours = (coco.image >= 0) & (coco.category >= 0)
            ours[ours] = np.array(known)[coco.category[ours]]
            keep[:] = False
            keep[coco.image[ours]] = True
        keep &= ~(coco.sizes.min(1) < rules.get('min_size', 0))
    ids = [one for one, kept in zip(coco.image_ids, keep.tolist(), strict=True) if kept]
    indices = data.get('indices')
    if indices is None:
        return {*ids}
    if isinstance(indices, int):
        return {*(ids[:indices] if indices >= 0 else ids[indices:])}
    return {ids[index] for index in indices if -len(ids) <= index < len(ids)}


def _sorted(ids: set) -> list:
    return sorted(ids, key=str)
