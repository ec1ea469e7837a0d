"""Is a data set in the layout of the ADE20K challenge set whole, and is it the challenge set?"""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.fileio import list_dir_or_file

from ..errors import UserError
from .place import ANYWHERE, Place

FULL = ('ADE20K_2016', 'ADE20K_2021', 'index_ade20k')  # names that only the full data set has


def check_ade20k(
    image_folder: str | os.PathLike[str],
    label_folder: str | os.PathLike[str] | None,
    *,
    image_suffix: str = '.jpg',
    label_suffix: str = '.png',
    names: str | os.PathLike[str] = '',
    place: Place = ANYWHERE,
) -> int:
    """Check a data set in the layout of the ADE20K challenge set: one label map for each image.

    Args:
        image_folder: Folder of the images, with all its subfolders.
        label_folder: Folder of the label maps, of the same structure; None: there are none.
        image_suffix: End of the images' names.
        label_suffix: End of the label maps' names.
        names: File with the names to use, without suffix, a line each; '' takes all.
        place: For the advice in error messages.

    Returns:
        How many images there are.

    Raises:
        UserError: If a folder is missing or empty, images and label maps do not pair up, or it is the full ADE20K.
    """
    try:
        return _check_pairs(image_folder, image_suffix, label_folder, label_suffix, names, place)
    except UserError as error:
        root = os.path.abspath(place.root or image_folder)
        full = _full_ade20k(root)
        if full is None:
            raise
        raise UserError(
            f'This is the full ADE20K, with its thousands of objects and parts: {full}\nWhat belongs to {root} is '
            'another download, the SceneParse150 challenge set ADEChallengeData2016: images/ and annotations/, each '
            'with training/ and validation/, and label maps of 150 classes.\n'
            f'{place.advice(os.path.abspath(image_folder))}'
        ) from error


def _check_pairs(image_folder, image_suffix, label_folder, label_suffix, names, place: Place) -> int:
    folders = {'image': (os.path.abspath(image_folder), image_suffix)}
    if label_folder is not None:
        folders['label'] = (os.path.abspath(label_folder), label_suffix)
    found = {}
    for what, (folder, suffix) in folders.items():
        if not os.path.isdir(folder):
            raise place.missing(f'The {what} folder', folder)
        files = list(list_dir_or_file(folder, list_dir=False, recursive=True))  # as mmseg does, so links are followed
        found[what] = {file.removesuffix(suffix) for file in files if file.endswith(suffix)}
        if not found[what]:
            why = f'none of its files ends in {suffix} (one is {files[0]})' if files else 'it is empty'
            raise place.error(f'No {what} is in {folder}: {why}.')
    if names:
        if not os.path.isfile(names):
            raise place.missing('The list of names (ann_file)', names)
        wanted = {line.strip() for line in Path(names).read_text().splitlines() if line.strip()}
        for what, (folder, suffix) in folders.items():
            if missing := sorted(wanted - found[what]):
                raise place.error(
                    f'{len(missing)} of the {len(wanted)} names in {names} have no {what} in {folder}, the first of '
                    f'them {missing[0]}{suffix}.'
                )
        return len(wanted)
    if label_folder is not None and found['image'] != found['label']:
        counts = ' and '.join(f'{len(found[what])} {what}s in {folder}' for what, (folder, _) in folders.items())
        alone = {
            'images have no label': sorted(found['image'] - found['label']),
            'labels have no image': sorted(found['label'] - found['image']),
        }
        details = ', '.join(f'{len(files)} {text}, the first {files[0]}' for text, files in alone.items() if files)
        raise place.error(f'Images and labels do not pair up: {counts}; {details}. Half unpacked?')
    return len(found['image'])


def _full_ade20k(folder: str) -> str | None:
    """What shows that `folder` holds the full ADE20K in its layout of 2016 or 2021, or else that it lies beside it."""
    if not os.path.isdir(folder):
        beside = os.path.dirname(folder)
        names = os.listdir(beside) if os.path.isdir(beside) else []
        return next((os.path.join(beside, name) for name in sorted(names) if name.startswith(FULL)), None)
    for parent, subfolders, files in os.walk(folder, followlinks=True):
        for name in (*subfolders, *files):
            if name.startswith(FULL) or name.endswith('_seg.png') or os.path.join(parent, name).endswith('/images/ADE'):
                return os.path.join(parent, name)
        # The first two folders tell, at each of the few levels that either layout has.
        subfolders[:] = sorted(subfolders)[:2] if parent.count(os.sep) - folder.count(os.sep) < 5 else []
    return None
