"""Reading a COCO annotation file, quickly and into columns."""

from __future__ import annotations

import functools
import gc
import json
import mmap
import os
from dataclasses import dataclass
from itertools import chain, repeat
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ..damage import begins_short, draws_area, ends
from ..errors import UserError

# What the `segmentation` of an annotation is: none; polygons, each a list x, y, x, y, ...; run lengths; polygons that
# enclose no area; polygons that do, behind one of fewer than three points; polygons that pycocotools cannot draw; the
# numbers of a polygon that are not in a list of polygons; anything else.
NO_MASK, POLYGONS, RUN_LENGTHS, NO_AREA, SHORT_FIRST, UNDRAWABLE, FLAT, STRANGE = range(8)


@dataclass(frozen=True, eq=False)
class CocoFile:
    """What a COCO annotation file holds, in columns.

    Attributes:
        path: The file, absolute.
        image_ids: None where there is none; so are the other ids.
        images: File names.
        sizes: Width and height of each image (N, 2), NaN where missing.
        category_ids: In the file's order.
        categories: Names.
        ids: Ids of the annotations.
        references: {'image_id': the ids that the annotations name, 'category_id': likewise}.
        image: Index of each annotation's image (M), -1 if no image has the id.
        category: Index of each annotation's category (M), -1 if no category has the id.
        boxes: x, y, width, height (M, 4), NaN where they are not four numbers.
        areas: (M), NaN where missing.
        crowd: 1 for a crowd, 0 for a single object (M), -1 where nothing says it.
        ignored: Whether mmdet is told to ignore the annotation (M).
        masks: What the segmentation is (M), one of the constants above.
        mask_sizes: {index of an annotation: height and width} of the run lengths.
    """

    path: str
    image_ids: list
    images: list[str]
    sizes: np.ndarray
    category_ids: list
    categories: list[str]
    ids: list
    references: dict[str, list]
    image: np.ndarray
    category: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray
    masks: np.ndarray
    mask_sizes: dict[int, Any]


def read_coco(path: str | os.PathLike[str]) -> CocoFile:
    """Read a COCO annotation file, once while it does not change and until :func:`forget_coco`.

    Reading COCO's training file takes 4.5 GB of memory, a little more than the toolbox takes when it reads the file.

    Raises:
        UserError: If it is not whole JSON, or not in COCO's format.
    """
    path = os.path.abspath(path)
    status = os.stat(path)
    return _read(path, status.st_size, status.st_mtime_ns)


def forget_coco() -> None:
    """Give back the memory of the files that were read."""
    _read.cache_clear()


@functools.lru_cache(maxsize=4)  # training, validation and evaluators name the same files
def _read(path: str, size: int, changed: int) -> CocoFile:
    if not size:
        raise UserError(f'The annotation file is empty (0 bytes): {path}. Delete it; it was not unpacked to the end.')
    collecting = gc.isenabled()
    gc.disable()  # it would look through millions of new lists again and again, which takes longer than the reading
    try:
        return _columns(path, _parse(path))
    except (ValueError, RecursionError) as error:
        whole = Path(path).read_bytes().rstrip()[-1:] in (b'}', b']')
        raise UserError(
            f'The annotation file is not whole JSON: {path}, {size} bytes ({error}). '
            + ('Write it again, as JSON in UTF-8.' if whole else 'Delete it; it was probably cut off on its way.')
        ) from error
    except (AttributeError, KeyError, OverflowError, TypeError) as error:
        raise UserError(
            f"The annotation file is not in COCO's format: {path} should hold a dict with lists of `images` (each with "
            'a `file_name`) and `categories` (each with a `name`), and neither may be empty. The ids in it and in its '
            '`annotations` are numbers.'
        ) from error
    finally:
        if collecting:
            gc.enable()


def _parse(path: str) -> Any:
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        with memoryview(text) as view:
            try:
                return orjson.loads(view)
            except orjson.JSONDecodeError:
                pass
    return json.loads(Path(path).read_text())  # as the toolboxes do: it takes NaN and huge numbers, too


def _columns(path: str, content: Any) -> CocoFile:
    images, categories, annotations = content['images'], content['categories'], content.get('annotations') or []
    names = [image['file_name'] for image in images], [category['name'] for category in categories]
    if not all(names) or set(map(type, chain(*names))) != {str}:
        raise TypeError
    image_ids, category_ids, ids = (_column(items, 'id') for items in (images, categories, annotations))
    hash(tuple(ids))  # a list or dict is no id
    references = {key: _column(annotations, key) for key in ('image_id', 'category_id')}
    masks = _column(annotations, 'segmentation')
    kinds = np.fromiter(map(_mask, masks), np.uint8, len(masks))
    crowd = [-1 if value is None else bool(value) for value in _column(annotations, 'iscrowd')]
    return CocoFile(
        path=path,
        image_ids=image_ids,
        images=names[0],
        sizes=np.stack([_numbers(_column(images, key)) for key in ('width', 'height')], axis=1),
        category_ids=category_ids,
        categories=names[1],
        ids=ids,
        references=references,
        image=_indices(references['image_id'], image_ids),
        category=_indices(references['category_id'], category_ids),
        boxes=_boxes(_column(annotations, 'bbox')),
        areas=_numbers(_column(annotations, 'area')),
        crowd=np.array(crowd, np.int8),
        ignored=np.fromiter(map(bool, _column(annotations, 'ignore')), bool, len(annotations)),
        masks=kinds,
        mask_sizes={index: masks[index]['size'] for index in np.flatnonzero(kinds == RUN_LENGTHS).tolist()},
    )


def _column(items: list[dict], key: str) -> list:
    """A value of each item, None where it has none."""
    try:
        return list(map(itemgetter(key), items))
    except KeyError:
        return [item.get(key) for item in items]


def _indices(references: list, ids: list) -> np.ndarray:
    position = {one: index for index, one in enumerate(ids) if one is not None}
    return np.fromiter(map(position.get, references, repeat(-1)), np.int32, len(references))


def _numbers(values: list) -> np.ndarray:
    if not set(map(type, values)) <= {int, float}:
        values = [value if type(value) in (int, float) else np.nan for value in values]
    return np.array(values, float)


def _boxes(boxes: list) -> np.ndarray:
    if not set(map(type, boxes)) <= {list} or not set(map(len, boxes)) <= {4}:
        boxes = [box if type(box) is list and len(box) == 4 else [np.nan] * 4 for box in boxes]
    if not set(map(type, chain.from_iterable(boxes))) <= {int, float}:
        boxes = [box if set(map(type, box)) <= {int, float} else [np.nan] * 4 for box in boxes]
    return np.fromiter(chain.from_iterable(boxes), float, 4 * len(boxes)).reshape(-1, 4)


def _mask(segmentation: Any) -> int:
    if not segmentation:
        return NO_MASK
    if type(segmentation) is list:
        if set(map(type, segmentation)) != {list}:
            return FLAT
        short = begins_short(segmentation)
        if draws_area(segmentation):
            return SHORT_FIRST if short else POLYGONS
        return UNDRAWABLE if short or not all(map(ends, segmentation)) else NO_AREA
    if type(segmentation) is dict and segmentation.get('size') and type(segmentation.get('counts')) in (list, str):
        return RUN_LENGTHS
    return STRANGE
