"""Is a data set in the layout of the ADE20K challenge set whole, and is it the challenge set?"""

from __future__ import annotations

import os

from ..errors import UserError
from .pairs import Pairs, find_pairs
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
) -> Pairs:
    """Check a data set in the layout of the ADE20K challenge set: one label map for each image.

    Args:
        image_folder: Folder of the images, with all its subfolders.
        label_folder: Folder of the label maps, of the same structure; None: there are none.
        image_suffix: End of the images' names.
        label_suffix: End of the label maps' names.
        names: File with the names to use, without suffix, a line each; '' takes all.
        place: For the advice in error messages.

    Returns:
        The images and their label maps.

    Raises:
        IncompleteData: Images and label maps do not pair up.
        UserError: A folder is missing or empty, or it is the full ADE20K.
    """
    try:
        pairs = find_pairs(image_folder, label_folder, image_suffix, label_suffix, names, place)
        if pairs.unused:
            raise place.incomplete(f'{pairs.mismatch([])} Half unpacked?', pairs.unused, pairs)
        return pairs
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
