"""Is the data that a config names there, whole, and what the config takes it for?

Folders are listed and annotation files read once; of images and label maps only a sample is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from ..datasets.ade20k import check_ade20k
from ..datasets.coco import check_classes, check_coco
from ..datasets.coco_file import read_coco
from ..datasets.imagenet import find_classes
from ..datasets.pairs import find_pairs
from ..datasets.place import IncompleteData, Place
from ..datasets.shapes import CLASSES
from ..datasets.sources import ADE20K, COCO, IMAGENET
from ..engine.config import LOADERS, evaluators, kind, nodes
from ..errors import UserError, few
from .coco import CocoUse, check_coco_file
from .dataset import DataConfig, data_configs
from .findings import Finding
from .images import ImageLoader, check_images
from .labels import LabelRules, check_labels
from .reading import Sample


def check_data(cfg: Config, loaders: Sequence[str] = LOADERS, reader: Sample | None = None) -> Iterator[Finding]:
    """Check the data sets that loaders read, and the annotation files of their evaluators.

    Args:
        cfg: The config.
        loaders: Keys of the config.
        reader: Which images and label maps to look at; None for a sample.
    """
    done = []
    heads = [node for node in nodes(cfg.get('model') or {}) if 'num_classes' in node]
    ignored = frozenset({255, *(head['ignore_index'] for head in heads if 'ignore_index' in head)})
    for loader in loaders:
        metrics = [
            metric
            for metric in evaluators(cfg, (loader.replace('dataloader', 'evaluator'),))
            if kind(metric) == 'CocoMetric' and not metric.get('format_only')
        ]
        for where, data in data_configs(cfg, (loader,)).items():
            if (data.config, metrics) not in done:  # the test data is mostly the validation data
                done.append((data.config, metrics))
                yield from check_dataset(data.config, where, data.scope, metrics, ignored, reader or Sample())


def check_dataset(
    dataset: Mapping[str, Any],
    where: str = 'dataset',
    scope: str | None = None,
    metrics: Sequence[Mapping[str, Any]] = (),
    ignored: frozenset[int] = frozenset({255}),
    reader: Sample | None = None,
) -> Iterator[Finding]:
    """Check what the config of one data set points at.

    Args:
        dataset: The config, without wrappers.
        where: Its place, for the findings.
        scope: The `default_scope` of its config.
        metrics: The configs of the CocoMetrics that evaluate on it.
        ignored: Numbers in label maps that are no class.
        reader: Which images and label maps to look at; None for a sample.
    """
    if not isinstance(dataset, Mapping) or 'type' not in dataset:
        yield Finding('error', where, f'must be the config of a data set, a dict with a type, not {dataset!r}')
        return
    data, reader = DataConfig(dataset, scope), reader or Sample()
    if data.is_remote:
        yield Finding('note', where, 'on remote storage, so it was not looked at')
        return
    try:
        if data.reads_like('CocoDataset'):
            yield from _check_detection(data, where, metrics, reader)
        elif data.scope != 'mmdet' and (data.reads_like('BaseSegDataset') or data.kind == 'ADE20KDataset'):
            yield from _check_segmentation(data, where, ignored, reader)
        elif data.reads_like('CustomDataset') and not data.annotations and data.get('with_label', True):
            yield from _check_classification(data, where, reader)
        else:
            yield from _check_paths(data, where)
    except UserError as error:
        yield _wrong(where, error)


def _wrong(where: str, error: UserError) -> Finding:
    what, _, fix = str(error).partition('\n')
    missing = sorted(getattr(error, 'missing', ()))
    return Finding('error', where, what, fix, tuple(missing), getattr(error, 'share', 0.0))


def _check_paths(data: DataConfig, where: str) -> Iterator[Finding]:
    prefixes = ((f'data_prefix.{name}', path) for name, path in data.prefixes.items())
    for name, path in (('ann_file', data.annotations), *prefixes):
        if path and not os.path.exists(path):
            raise Place(data.root, drawn=_is_drawn(data)).missing(f'The {name} of {data.kind}', path)
    yield Finding('note', where, f'of a {data.kind} only the paths were looked at')


# -------------------------------------------------------------------------------------------------------- detection


def _check_detection(
    data: DataConfig, where: str, metrics: Sequence[Mapping[str, Any]], reader: Sample
) -> Iterator[Finding]:
    place = Place(data.root, COCO if _is_official(data) else None, _is_drawn(data))
    if not data.annotations or 'img' not in data.prefixes:
        raise UserError(
            f'A {data.kind} needs ann_file and data_prefix=dict(img=...), got '
            f'ann_file={data.get("ann_file")!r}, data_prefix={dict(data.get("data_prefix") or {})!r}.'
        )
    filters, rules = not data.get('test_mode', False), data.get('filter_cfg') or {}
    missing = None
    try:
        needed = filters and rules.get('filter_empty_gt', True)  # unlabeled images are listed without annotations
        coco, missing = check_coco(data.annotations, data.prefixes['img'], needs_annotations=needed, place=place), ()
    except IncompleteData as error:
        yield _wrong(where, error)
        coco, missing = error.found, error.missing
    except UserError as error:
        yield _wrong(where, error)
        if not _is_readable(data.annotations):
            return
        coco = read_coco(data.annotations)
    reader.images[where] = len(coco.images), COCO.count(data.annotations) if _is_official(data) else None
    classes = _coco_classes() if data.classes is None else data.classes
    try:
        check_classes(classes, coco.categories, data.annotations)
    except UserError as error:
        yield _wrong(where, error)
        classes = None
    loads = list(data.transforms('LoadAnnotations'))
    if filters and loads and not coco.ids:  # beside others, images of nothing may be meant
        level = 'error' if where == 'train_dataloader.dataset' else 'warning'
        what = f'{data.annotations} has no annotations, so nothing can be learned from it'
        yield Finding(level, where, what, 'Take the file of the instances.')
    masks = any(load.get('with_mask') for load in loads)
    own = [metric for metric in metrics if metric.get('ann_file') and _same_file(metric['ann_file'], coco.path)]
    use = CocoUse(
        where,
        filters,
        evaluation=bool(own),
        masks=masks or any(map(_has_masks, own)),
        loaded=masks,
        polygons=masks and any(load.get('with_mask') and not load.get('poly2mask', True) for load in loads),
        classes=classes,
        filter=rules,
    )
    yield from check_coco_file(coco, use)
    for metric in metrics:
        file = metric.get('ann_file')
        if metric not in own and file and os.path.isfile(file):
            evaluated = CocoUse(where.split('_')[0] + '_evaluator', False, True, _has_masks(metric), classes=classes)
            yield from check_coco_file(read_coco(file), evaluated)
    loader = ImageLoader.of(data)
    if loader is None:
        yield Finding('note', where, 'its pipeline has no LoadImageFromFile, so no image was looked at')
    if loader is None or missing is None:
        return
    images = [
        (os.path.join(data.prefixes['img'], name), None if width != width or height != height else (width, height))
        for name, (width, height) in zip(coco.images, coco.sizes.tolist(), strict=True)
        if name not in missing
    ]
    yield from check_images(
        [path for path, _ in images],
        [size for _, size in images],
        loader,
        where,
        reader,
        masks=use.masks and bool(coco.mask_sizes),
    )


def _is_readable(annotation_file: str) -> bool:
    try:
        return bool(read_coco(annotation_file))
    except (UserError, OSError):
        return False


def _same_file(one: str, other: str) -> bool:
    return os.path.exists(one) and os.path.samefile(one, other)


def _has_masks(metric: Mapping[str, Any]) -> bool:
    return 'segm' in (metric.get('metric') or ())


def _is_official(data: DataConfig) -> bool:
    """Whether a CocoDataset is COCO itself rather than somebody's own data in its format."""
    official = {os.path.basename(split.annotations) for split in COCO.splits}
    return os.path.basename(data.annotations) in official and not data.config.get('metainfo')


def _is_drawn(data: DataConfig) -> bool:
    """Whether it is the embedded data set, by its classes."""
    classes = (data.config.get('metainfo') or {}).get('classes') or ()
    return not isinstance(classes, str) and set(CLASSES) <= set(classes)


def _coco_classes() -> Sequence[str]:
    from mmdet.datasets import CocoDataset  # slow to import, and not there for users of mmseg alone

    return CocoDataset.METAINFO['classes']


# ----------------------------------------------------------------------------------------------------- segmentation


def _check_segmentation(data: DataConfig, where: str, ignored: frozenset[int], reader: Sample) -> Iterator[Finding]:
    is_ade = data.kind == 'ADE20KDataset'
    find = check_ade20k if is_ade else find_pairs
    missing = frozenset()
    try:
        pairs = find(
            data.prefixes.get('img_path', data.root),
            data.prefixes.get('seg_map_path'),
            image_suffix=data.get('img_suffix', '.jpg'),
            label_suffix=data.get('seg_map_suffix', '.png'),
            names=data.annotations,
            place=Place(data.root, ADE20K if is_ade else None, _is_drawn(data)),
        )
    except IncompleteData as error:
        yield _wrong(where, error)
        pairs, missing = error.found, error.missing
    own = not is_ade or data.config.get('metainfo')
    reader.images[where] = len(pairs.names), None if own else ADE20K.count(data.prefixes.get('img_path', ''))
    if pairs.unused and not missing:
        yield Finding('warning', where, pairs.mismatch([]))
    if pairs.others:
        ends = ', '.join(f'{count} in {end}' for end, count in pairs.others.items())
        yield Finding(
            'warning',
            where,
            f'pictures in {pairs.image[0]} do not end in img_suffix={pairs.image[1]!r} and are left out: {ends}',
            'Rename them if they belong to the data set.',
        )
    loader = ImageLoader.of(data)
    if loader is None:
        yield Finding('note', where, 'its pipeline has no LoadImageFromFile, so no image was looked at')
        return
    names = [name for name in pairs.names if name not in missing]
    images = [pairs.path(pairs.image, name) for name in names]
    loads = list(data.transforms('LoadAnnotations'))
    if pairs.label is None or data.config.get('pipeline') and not loads:
        yield from check_images(images, [None] * len(images), loader, where, reader)
        return
    labels = [pairs.path(pairs.label, name) for name in names]
    rules = LabelRules(
        len(data.known_classes or data.classes or range(255)),  # label maps count all classes, also those not selected
        bool(data.get('reduce_zero_label', False)),
        ignored,
        next((load['imdecode_backend'] for load in loads if load.get('imdecode_backend')), 'pillow'),
    )
    yield from check_labels(list(zip(images, labels, strict=True)), rules, loader, where, reader)


# --------------------------------------------------------------------------------------------------- classification


def _check_classification(data: DataConfig, where: str, reader: Sample) -> Iterator[Finding]:
    """Check a data set of mmpretrain's that has one folder for each class."""
    folder = next(iter(data.prefixes.values()), data.root)
    if os.path.isfile(os.path.join(data.root, 'meta', f'{data.get("split")}.txt')):
        yield Finding('note', where, 'its files are listed in meta/, so they were not looked at')
        return
    official = data.kind == 'ImageNet' and not data.config.get('metainfo')
    place = Place(data.root, IMAGENET if official else None, _is_drawn(data))
    if not os.path.isdir(folder):
        raise place.missing('The folder of the images', folder)
    found = find_classes(folder, data.get('extensions'))
    if not any(found.values()):
        raise place.error(f'{os.path.abspath(folder)} has no images in folders, one for each class.')
    classes = data.classes
    if classes and len(classes) != len(found):
        raise place.error(
            f'{os.path.abspath(folder)} has {len(found)} folders ({few(found)}), and there are {len(classes)} classes.'
        )
    if empty := [name for name, paths in found.items() if not paths]:
        yield Finding('error', where, f'no images in {len(empty)} folders of {folder}: {few(empty)}')
    # Labels count by the folders' names, whatever the classes are called.
    if classes and {*found} == {*classes} and list(found) != list(classes):
        yield Finding(
            'error',
            where,
            f'the folders count in the order {few(found, 10)}, and metainfo.classes says {few(classes, 10)}',
            'Bring metainfo.classes into the order of the folders.',
        )
    images = [path for paths in found.values() for path in paths]
    reader.images[where] = len(images), IMAGENET.count(folder) if official else None
    if loader := ImageLoader.of(data):
        yield from check_images(images, [None] * len(images), loader, where, reader)
