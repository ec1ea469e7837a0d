"""Is a data set in COCO's layout whole? Annotation file, images and classes, looked at together."""

from __future__ import annotations

import json
import mmap
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, few
from .place import ANYWHERE, Place

# Larger annotation files are not parsed as a whole, see read_index.
PARSE_WHOLE_UP_TO = 16 * 2**20  # bytes


def check_coco(
    annotation_file: str | os.PathLike[str],
    image_folder: str | os.PathLike[str],
    *,
    needs_annotations: bool = True,
    place: Place = ANYWHERE,
) -> CocoIndex:
    """Check that a data set in COCO's layout is whole.

    Args:
        annotation_file: COCO's JSON.
        image_folder: Where the images are that it names.
        needs_annotations: Whether a file that lists images alone is not enough.
        place: For the advice in error messages.

    Returns:
        What the annotation file names.

    Raises:
        UserError: If the annotation file is missing or broken, or images are missing.
    """
    annotation_file, image_folder = os.fspath(annotation_file), os.fspath(image_folder)
    if not os.path.isfile(annotation_file):
        raise place.missing('The annotation file', annotation_file)
    try:
        index = read_index(annotation_file)
    except UserError as error:
        raise place.error(str(error)) from error
    if needs_annotations and not index.annotated:
        raise place.error(
            f'{os.path.abspath(annotation_file)} has no annotations, only {len(index.images)} images (a test set?).'
        )
    if not os.path.isdir(image_folder):
        raise place.missing('The image folder', image_folder)
    missing, present = _missing_files(image_folder, index.images)
    if missing:
        raise place.error(
            f'{len(missing)} of the {len(index.images)} images that {os.path.abspath(annotation_file)} names are not '
            f'in {os.path.abspath(image_folder)}, the first of them {missing[0]}. '
            + (f'The folder holds {present} files.' if present else 'The folder is empty.')
        )
    return index


@dataclass(frozen=True)
class CocoIndex:
    """The part of a COCO annotation file that tells whether a data set is whole.

    Attributes:
        images: File names.
        categories: Names, in the file's order.
        annotated: Whether there are annotations.
    """

    images: list[str]
    categories: list[str]
    annotated: bool


def read_index(path: str | os.PathLike[str]) -> CocoIndex:
    """Read the names of images and categories from a COCO annotation file.

    The toolbox parses the file again when it builds the data set, which nothing here could spare it, and for COCO's
    440 MB that takes 25 s and 3.3 GB of memory. So a large file is not parsed as a whole here: its two lists of names
    are looked up in the text (0.5 s, 0.2 GB), and only where that does not work is everything read.

    Args:
        path: The JSON file.

    Raises:
        UserError: If it is not whole JSON, or not in COCO's format.
    """
    path = os.path.abspath(path)
    size = os.path.getsize(path)
    if not size:
        raise UserError(f'The annotation file is empty (0 bytes): {path}. Delete it; it was not unpacked to the end.')
    if size > PARSE_WHOLE_UP_TO and (index := _look_up(path)):
        return index
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise UserError(
            f'The annotation file is not whole JSON: {path}, {size} bytes ({error}). Delete it; it was probably not '
            'downloaded or unpacked to the end.'
        ) from error
    index = _index(content)
    if index is None:
        raise UserError(
            f"The annotation file is not in COCO's format: {path} should hold a dict with lists of `images` (each with "
            'a `file_name`) and `categories` (each with a `name`), and neither may be empty.'
        )
    return index


def _look_up(path: str) -> CocoIndex | None:
    """The index of a large file without parsing its annotations; None where that does not work."""
    lists: dict[str, Any] = {}
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        if not text[-100:].rstrip().endswith(b'}'):
            return None
        annotations = re.search(rb'"annotations"\s*:', text)
        for key in (b'images', b'categories'):
            found = re.search(rb'"%b"\s*:\s*(?=\[)' % key, text)
            if not found:
                return None
            start = found.end()
            end = annotations.start() if annotations and annotations.start() > start else len(text)
            try:
                lists[key.decode()], _ = json.JSONDecoder().raw_decode(text[start:end].decode())
            except ValueError:
                return None
    return _index(dict(lists, annotations=annotations))


def _index(content: Any) -> CocoIndex | None:
    """The index of parsed JSON, None if it is not COCO's format."""
    try:
        images = [image['file_name'] for image in content['images']]
        categories = [category['name'] for category in content['categories']]
    except (KeyError, TypeError):
        return None
    if not images or not categories or not all(isinstance(name, str) for name in images + categories):
        return None
    return CocoIndex(images, categories, bool(content.get('annotations')))


def check_classes(classes: Sequence[str], categories: list[str], annotation_file: str | os.PathLike[str]) -> None:
    """Check that the classes of a data set and the categories of its annotation file fit.

    mmdet numbers labels by the file's categories, in the file's order, leaving out those that are no class. So each
    class must be one category, and in that order. Otherwise labels get the names of other classes, or no box is left at
    all: "need at least one array to concatenate".

    Args:
        classes: The classes in the order of their labels, or a file with one on each line.
        categories: The categories in the order of the file.
        annotation_file: The file, for the message.

    Raises:
        UserError: If they do not fit; both lists are in the message.
    """
    if isinstance(classes, str):
        if os.path.isfile(classes):  # MMEngine reads a file with a class on each line
            classes = Path(classes).read_text().splitlines()
        else:
            raise UserError(
                f'metainfo.classes is the string {classes!r}: neither a file with a class on each line nor a tuple of '
                f'names. A tuple of one name needs a comma: classes=({classes!r},).'
            )
    classes = list(classes)
    used = [name for name in categories if name in set(classes)]
    if used == classes:
        return
    absent = [name for name in classes if name not in set(categories)]
    if absent:
        what = f'{len(absent)} of the {len(classes)} classes are no category of the annotation file: {few(absent)}'
    elif len(used) != len(classes):
        twice = [name for name in dict.fromkeys(used) if used.count(name) > 1 or classes.count(name) > 1]
        what = f'these appear twice, as class or as category: {few(twice)}'
    else:
        what = 'the classes are in another order than the categories, and labels are numbered in the order of the file'
    raise UserError(
        f'Classes and annotation file do not fit: {what}.\n'
        f"Classes (metainfo of the config, or COCO's 80 where that names none): {', '.join(classes)}\n"
        f'Categories of {os.path.abspath(annotation_file)}: {", ".join(categories)}\n'
        'Labels count in this order, so it must be the same in all these places:\n'
        "  `categories` of the annotation files: training, validation and test data, and the evaluators' ann_file\n"
        '  metainfo=dict(classes=(...)) of all these data sets\n'
        '  the data that a checkpoint was trained on\n'
        'If this file alone differs, reorder its `categories` and keep their ids. Otherwise change all of them, set '
        "num_classes of the model's heads to the number of classes, and train again (docs/custom_data.md)."
    )


def _missing_files(folder: str, names: Iterable[str]) -> tuple[list[str], int]:
    """Which of `names`, relative to `folder`, are not there, and how many files are; each folder is listed once."""
    by_folder = defaultdict(list)
    for name in names:
        by_folder[os.path.dirname(name)].append(name)
    missing, present = [], 0
    for subfolder, wanted in by_folder.items():
        try:
            there = set(os.listdir(os.path.join(folder, subfolder)))
        except OSError:
            there = set()
        present += len(there)
        missing += [name for name in wanted if os.path.basename(name) not in there]
    return missing, present
