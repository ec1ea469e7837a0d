"""Images and their label maps, found as MMSegmentation finds them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mmengine.fileio import list_dir_or_file

from ..errors import UserError
from .place import ANYWHERE, Place

IMAGES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


@dataclass(frozen=True)
class Pairs:
    """The images of a data set and their label maps.

    Attributes:
        names: What MMSegmentation uses: file names below the folders, without their suffixes.
        image: (folder, suffix) of the images.
        label: (folder, suffix) of the label maps; None if there are none.
        unused: Label maps without an image, likewise without suffix.
        others: Pictures among the images that have another suffix, {suffix: how many}.
    """

    names: list[str]
    image: tuple[str, str]
    label: tuple[str, str] | None
    unused: list[str]
    others: dict[str, int]

    def path(self, kind: tuple[str, str], name: str) -> str:
        return os.path.join(kind[0], name + kind[1])

    def mismatch(self, unlabeled: list[str]) -> str:
        """How the label maps do not fit the images."""
        shared = len(self.names) - len(unlabeled)
        alone = {'images have no label': unlabeled, 'labels have no image': self.unused}
        details = ', '.join(f'{len(files)} {text}, the first {files[0]}' for text, files in alone.items() if files)
        return (
            f'Images and labels do not pair up: {len(self.names)} images in {self.image[0]} and '
            f'{shared + len(self.unused)} labels in {self.label[0]}; {details}.'
        )


def find_pairs(
    image_folder: str | os.PathLike[str],
    label_folder: str | os.PathLike[str] | None,
    image_suffix: str = '.jpg',
    label_suffix: str = '.png',
    names: str | os.PathLike[str] = '',
    place: Place = ANYWHERE,
) -> Pairs:
    """Find the images of a data set and their label maps, following links.

    Args:
        image_folder: Folder of the images, with all its subfolders.
        label_folder: Folder of the label maps, of the same structure; None: there are none.
        image_suffix: End of the images' names.
        label_suffix: End of the label maps' names.
        names: File with the names to use, without suffix, a line each; '' takes all.
        place: For the advice in error messages.

    Raises:
        IncompleteData: An image has no label map, or a name of the list no file.
        UserError: A folder is missing or empty; or images that have a label map end in another suffix and would be left
            out.
    """
    image = os.path.abspath(image_folder), image_suffix
    label = None if label_folder is None else (os.path.abspath(label_folder), label_suffix)
    files = {what: _list(what, *kind, place) for what, kind in (('image', image), ('label', label)) if kind}
    found = {
        what: {file.removesuffix(suffix) for file in files[what] if file.endswith(suffix)}
        for what, (_, suffix) in (('image', image), ('label', label or image))
        if what in files
    }
    if names and not os.path.isdir(names):
        return Pairs(_listed(names, found, image, label, place), image, label, [], {})
    labels = found.get('label', found['image'])
    known = (image_suffix, label_suffix) if label and label[0].startswith(image[0]) else image_suffix
    others = [
        os.path.splitext(file) for file in files['image'] if file.lower().endswith(IMAGES) and not file.endswith(known)
    ]
    pairs = Pairs(
        sorted(found['image']), image, label, sorted(labels - found['image']), dict(Counter(end for _, end in others))
    )
    if unlabeled := sorted(found['image'] - labels):
        raise place.incomplete(
            f'{pairs.mismatch(unlabeled)} Half unpacked, or is seg_map_suffix={label_suffix!r} not how labels end?',
            unlabeled,
            pairs,
        )
    if lost := sorted(stem + suffix for stem, suffix in others if label and stem in labels - found['image']):
        raise UserError(
            f'{len(lost)} of {len(lost) + len(pairs.names)} images in {image[0]} have a label but do not end in '
            f'img_suffix={image_suffix!r}, so they would be left out, the first {lost[0]}.\nRename them.'
        )
    return pairs


def _list(what: str, folder: str, suffix: str, place: Place) -> list[str]:
    """The files of a folder, some of which must end in `suffix`."""
    if not os.path.isdir(folder):
        raise place.missing(f'The {what} folder', folder)
    files = list(list_dir_or_file(folder, list_dir=False, recursive=True))
    if not any(file.endswith(suffix) for file in files):
        why = f'none of its files ends in {suffix} (one is {files[0]})' if files else 'it is empty'
        raise place.error(f'No {what} is in {folder}: {why}.')
    return files


def _listed(names, found: dict[str, set[str]], image, label, place: Place) -> list[str]:
    """The names of a list, each of which must have its files."""
    if not os.path.isfile(names):
        raise place.missing('The list of names (ann_file)', names)
    wanted = [line.strip() for line in Path(names).read_text().splitlines()]
    if not any(wanted):
        raise place.error(f'The list of names (ann_file) is empty: {os.path.abspath(names)}')
    for what, (folder, suffix) in (('image', image), ('label', label)) if label else (('image', image),):
        if missing := sorted({*wanted} - found[what]):
            raise place.incomplete(
                f'{len(missing)} of the {len(wanted)} names in {names} have no {what} in {folder}, the first of '
                f'them {missing[0]}{suffix}.',
                missing,
                Pairs(wanted, image, label, [], {}),
            )
    return wanted
