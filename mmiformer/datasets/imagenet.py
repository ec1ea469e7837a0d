"""ImageNet in folders, one for each class; its validation images, prepared as for the published accuracies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..engine.broken import BrokenSample
from ..errors import MissingFile, UserError, few

SIZE, RESIZED = 224, 256  # published: the shorter side to 224 / 0.875, then the center
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SUFFIXES = ('.jpg', '.jpeg', '.png')


def preprocess(image: Image.Image) -> Tensor:
    """Resize an image bicubically, crop its center and normalize it, to (3, 224, 224)."""
    image = image.convert('RGB')
    shorter = min(image.size)
    image = image.resize([RESIZED * side // shorter for side in image.size], Image.Resampling.BICUBIC)
    left, top = (round((side - SIZE) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + SIZE, top + SIZE)), np.float32) / 255
    return torch.from_numpy((pixels - np.float32(MEAN)) / np.float32(STD)).permute(2, 0, 1)


def find_classes(root: str | os.PathLike[str], suffixes: Sequence[str] = SUFFIXES) -> dict[str, list[str]]:
    """The images of a folder with one folder for each class, at any depth below that, following links.

    Args:
        root: The folder.
        suffixes: Ends of the images' names, in small letters.

    Returns:
        {class: paths}, in the order of the folders' names, by which the labels count.
    """
    found = {}
    for name in sorted(entry.name for entry in os.scandir(root) if entry.is_dir()):
        below = os.walk(os.path.join(root, name), followlinks=True)
        found[name] = sorted(
            os.path.join(parent, file)
            for parent, _, files in below
            for file in files
            if file.lower().endswith(tuple(suffixes))
        )
    return found


class ImageFolder(Dataset):
    """The images of a folder with one folder for each class, whose labels follow the order of the folders' names.

    Args:
        root: The folder.
        num_classes: How many classes there must be.

    Raises:
        MissingFile: There is no such folder.
        UserError: There are more or fewer classes, or one has no images; later, that an image cannot be read.
    """

    def __init__(self, root: Path, num_classes: int):
        if not root.is_dir():
            raise MissingFile(f'there is no folder {root}; it should hold the validation images of ImageNet')
        folders = find_classes(root)
        if len(folders) != num_classes:
            raise UserError(
                f'{root} has {len(folders)} folders, the weights know {num_classes} classes. Each class needs a folder '
                'of its images; the ILSVRC 2012 archive of validation images comes flat and must be sorted first'
            )
        self.samples = [(path, label) for label, paths in enumerate(folders.values()) for path in paths]
        if empty := [name for name, paths in folders.items() if not paths]:
            raise UserError(f'{root}: no images ({", ".join(SUFFIXES)}) in {len(empty)} folders: {few(empty)}')

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        try:
            with Image.open(path) as image:
                return preprocess(image), label
        except OSError as error:
            raise BrokenSample(f'{path} cannot be read as an image: {error}') from error
