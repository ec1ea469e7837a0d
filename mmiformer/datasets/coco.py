"""Is a data set in COCO's layout whole? Annotation file, images and classes, looked at together."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import UserError, few
from .coco_file import CocoFile, read_coco
from .place import ANYWHERE, Place


def check_coco(
    annotation_file: str | os.PathLike[str],
    image_folder: str | os.PathLike[str],
    *,
    needs_annotations: bool = True,
    place: Place = ANYWHERE,
) -> CocoFile:
    """Check that a data set in COCO's layout is whole.

    Args:
        annotation_file: COCO's JSON.
        image_folder: Where the images are that it names.
        needs_annotations: Whether a file that lists images alone is not enough.
        place: For the advice in error messages.

    Returns:
        What the annotation file holds.

    Raises:
        IncompleteData: Images are missing.
        UserError: The annotation file or the folder of images is missing, or broken.
    """
    annotation_file, image_folder = os.fspath(annotation_file), os.fspath(image_folder)
    if not os.path.isfile(annotation_file):
        raise place.missing('The annotation file', annotation_file)
    try:
        coco = read_coco(annotation_file)
    except UserError as error:
        raise place.error(str(error)) from error
    if needs_annotations and not coco.ids:
        raise place.error(
            f'{os.path.abspath(annotation_file)} has no annotations, only {len(coco.images)} images (a test set?).'
        )
    if not os.path.isdir(image_folder):
        raise place.missing('The image folder', image_folder)
    missing, present = _missing_files(image_folder, coco.images)
    if missing:
        raise place.incomplete(
            f'{len(missing)} of the {len(coco.images)} images that {os.path.abspath(annotation_file)} names are not '
            f'in {os.path.abspath(image_folder)}, the first of them {missing[0]}. '
            + (f'The folder holds {present} files.' if present else 'The folder is empty.'),
            missing,
            coco,
        )
    return coco


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
