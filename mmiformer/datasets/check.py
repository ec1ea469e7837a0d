"""Is a data set where a config says it is, and whole? Asked before a model is built, and answered in seconds.

Folders are listed, no file in them is looked at alone: COCO's 118287 images take a fraction of a second.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UserError
from .ade20k import check_ade20k
from .coco import check_classes, check_coco
from .place import Place
from .shapes import CLASSES
from .sources import ADE20K, COCO


def check_dataset(dataset: Mapping[str, Any]) -> None:
    """Check that what a data set's config points at is there and whole.

    COCO: the annotation file can be read, all the images it names are in the image folder, and its categories are the
    data set's classes. ADE20K: it is the challenge set, and images and label maps pair up. Any other type: the paths
    exist. Data on remote storage (`s3://...`, `backend_args`) is left alone.

    Args:
        dataset: Config of a data set, as in `train_dataloader.dataset`. Wrappers (RepeatDataset, ConcatDataset ...) are
            looked into.

    Raises:
        TypeError: If `dataset` is no config.
        UserError: If something is missing or not whole.
    """
    if not isinstance(dataset, Mapping):
        raise TypeError(f'dataset must be the config of a data set, a dict with a type, got {dataset!r}')
    if 'dataset' in dataset or 'datasets' in dataset:
        for inner in [dataset['dataset']] if 'dataset' in dataset else dataset['datasets']:
            check_dataset(inner)
        return
    root = str(dataset.get('data_root') or '')
    annotations = os.path.join(root, dataset['ann_file']) if dataset.get('ann_file') else ''
    prefixes = dataset.get('data_prefix') or {}
    prefixes = {name: os.path.join(root, prefix) for name, prefix in prefixes.items() if prefix is not None}
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    if backend != 'local' or any('://' in path for path in (root, annotations, *prefixes.values())):
        return
    kind = dataset.get('type')
    kind = kind.rsplit('.', 1)[-1] if isinstance(kind, str) else getattr(kind, '__name__', None)
    if kind == 'CocoDataset':
        place = Place(root, COCO if _is_official(dataset) else None, _is_drawn(dataset))
        if not annotations or 'img' not in prefixes:
            raise UserError(
                'A CocoDataset needs ann_file and data_prefix=dict(img=...), got '
                f'ann_file={dataset.get("ann_file")!r}, data_prefix={dict(dataset.get("data_prefix") or {})!r}.'
            )
        needs_annotations = not dataset.get('test_mode', False)
        index = check_coco(annotations, prefixes['img'], needs_annotations=needs_annotations, place=place)
        classes = (dataset.get('metainfo') or {}).get('classes')
        check_classes(_coco_classes() if classes is None else classes, index.categories, annotations)
    elif kind == 'ADE20KDataset':
        check_ade20k(
            prefixes.get('img_path', root),
            prefixes.get('seg_map_path'),
            image_suffix=dataset.get('img_suffix', '.jpg'),
            label_suffix=dataset.get('seg_map_suffix', '.png'),
            names=annotations,
            place=Place(root, ADE20K),
        )
    else:
        for name, path in (
            ('ann_file', annotations),
            *((f'data_prefix.{name}', path) for name, path in prefixes.items()),
        ):
            if path and not os.path.exists(path):
                raise Place(root, drawn=_is_drawn(dataset)).missing(f'The {name} of {kind}', path)


def _is_official(dataset: Mapping[str, Any]) -> bool:
    """Whether a CocoDataset is COCO itself rather than somebody's own data in its format."""
    official = {os.path.basename(split.annotations) for split in COCO.splits}
    return os.path.basename(dataset.get('ann_file') or '') in official and not dataset.get('metainfo')


def _is_drawn(dataset: Mapping[str, Any]) -> bool:
    """Whether it is the embedded data set, by its classes."""
    classes = (dataset.get('metainfo') or {}).get('classes') or ()
    return not isinstance(classes, str) and set(CLASSES) <= set(classes)


def _coco_classes() -> Sequence[str]:
    from mmdet.datasets import CocoDataset  # slow to import, and not there for users of mmseg alone

    return CocoDataset.METAINFO['classes']
