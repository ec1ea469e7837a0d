"""A trained model whose backbone is computed by another runtime, so that what was exported can be evaluated."""

from __future__ import annotations

import copy
import functools
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..errors import UserError
from ..models import IFormer, export_form
from .networks import MEAN, STD, Logits, Network
from .runtime import Run, Runtime, write

LOADED = 16  # graphs that are kept in memory; the files of all others stay on disk


def read_images(folder: Path, height: int, width: int, number: int = 32, image: bool = False) -> list[Tensor]:
    """The first images of a folder, by name, resized, each (1, 3, height, width).

    Args:
        folder: The folder, with all below it.
        height: Height that they get.
        width: Width that they get.
        number: How many at most.
        image: Whether they stay RGB from 0 to 255, as a `Network` with `image` takes them; else they are normalized.

    Raises:
        UserError: There are none.
    """
    paths = sorted(path for path in folder.expanduser().rglob('*') if path.suffix.lower() in ('.jpg', '.jpeg', '.png'))
    if not paths:
        raise UserError(f'{folder} holds no .jpg, .jpeg or .png')
    images = []
    for path in paths[:number]:
        try:
            with Image.open(path) as file:
                images.append(as_input(file, height, width, image))
        except OSError as error:
            raise UserError(f'{path} is no image that can be read: {error}') from error
    return images


def as_input(picture: Image.Image, height: int, width: int, image: bool = False) -> Tensor:
    """A picture, resized, as a network takes it: (1, 3, height, width). `image` is as in :func:`read_images`."""
    pixels = np.asarray(picture.convert('RGB').resize((width, height)), dtype=np.float32)
    pixels = pixels if image else ((pixels - MEAN) / STD).astype(np.float32)
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())


class Converted(nn.Module):
    """A network in another runtime, converted once for each shape of its input.

    Images are never padded to a size that is there: padded tokens are keys of the attention, so results would change.

    Args:
        runtime: The runtime.
        network: What it computes.
        precision: One of the runtime's.
        images: A folder of images for int8.
    """

    def __init__(self, runtime: Runtime, network: Network, precision: str, images: Path | None = None):
        super().__init__()
        # Not a part of this module, which has no weights.
        self.__dict__['network'] = network
        self.runtime, self.precision, self.images = runtime, precision, images
        self.folder = tempfile.TemporaryDirectory(prefix='mmiformer-')
        self.load = functools.lru_cache(LOADED)(self._load)

    def _load(self, shape: tuple[int, ...]) -> Run:
        path = Path(self.folder.name, 'x'.join(map(str, shape)) + self.runtime.suffix)
        if not path.exists():
            images = read_images(self.images, *shape[2:]) if self.images and self.precision == 'int8' else ()
            images = [image.expand(shape).contiguous() for image in images]
            write(self.runtime, self.network, torch.zeros(shape), path, self.precision, images)
        return self.runtime.load(path, self.precision)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to what the network returns, on their device."""
        outputs = self.load(tuple(x.shape))(x.cpu())
        return tuple(output.to(x) for output in outputs)


def replace(model: nn.Module, runtime: Runtime, precision: str, images: Path | None = None) -> None:
    """Let a runtime compute a detector's backbone, or a segmentor's backbone, neck and head, in place.

    Args:
        model: The trained model.
        runtime: The runtime.
        precision: One of the runtime's.
        images: A folder of images for int8.

    Raises:
        UserError: Its backbone is no IFormer.
    """
    if not isinstance(getattr(model, 'backbone', None), IFormer):
        raise UserError(f'--runtime: the backbone of this {type(model).__name__} is no IFormer')
    model.eval()
    if hasattr(model, 'decode_head'):
        network = Network(copy.deepcopy(Logits(model, **runtime.form)).cpu(), ('logits',))
        model.neck = None
        model.decode_head.forward = lambda maps: maps[0]
    else:
        names = tuple(f'stage{index + 1}' for index in model.backbone.out_indices)
        network = Network(export_form(model.backbone, **runtime.form).cpu(), names)
    model.backbone = Converted(runtime, network, precision, images)
