"""Reading an image as a config's pipeline does, and what that leaves out of its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from mmengine.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from .sources import BrokenSource


class Reader:
    """Reads images.

    Args:
        load: The config of the pipeline's LoadImageFromFile.
    """

    def __init__(self, load: Mapping):
        self._load = TRANSFORMS.build({**load, 'backend_args': None})  # images are on this machine
        self._gray = load.get('color_type', 'color').startswith('grayscale')

    def read(self, path: Path) -> tuple[np.ndarray, list[str]]:
        """Read an image.

        Returns:
            image: (H, W, 3), BGR, or (H, W), 0 to 255 unless the config's pipeline reads other values.
            notes: What is not read of the file, as sentences that go on from its path.

        Raises:
            BrokenSource: It is damaged, or not an image.
        """
        notes, mode = [], None
        try:
            # OpenCV silently fills what is missing of a JPEG that was cut off with gray.
            with Image.open(path) as file:
                file.load()
                mode, frames = file.mode, getattr(file, 'n_frames', 1)
                if frames > 1 and file.format != 'MPO':  # a JPEG with previews or maps of depth behind it
                    notes.append(f'holds {frames} pages or frames: only the first is predicted')
        except UnidentifiedImageError:
            pass  # perhaps of a kind that only OpenCV reads
        except Exception as error:  # decoders raise all kinds of errors
            raise BrokenSource(f'cannot be read: {error}') from error
        try:
            image = self._load(dict(img_path=str(path)))['img']
        except (AssertionError, OSError, cv2.error) as error:
            stored = _stored(path)
            why = (
                'it is not an image'
                if stored is None
                else f'the config reads no {stored.dtype} values; convert it to 8 bits'
            )
            raise BrokenSource(f'cannot be read: {why}') from error
        deep = mode is None or mode[0] in 'IF' or image.max(initial=0) < 64  # what may be more than 8 bits
        if deep and image.dtype == np.uint8 and not _is_whole(image, stored := _stored(path)):
            notes.append(
                f'holds {stored.dtype} values up to {stored.max():.6g}, which the config reads as 8 bits up to '
                f'{image.max()} of 255: scale it to 8 bits'
            )
        return image, notes

    def frame(self, image: np.ndarray) -> np.ndarray:
        """A frame of a video, (H, W, 3), BGR, as the pipeline would read it from a file."""
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if self._gray else image


def _stored(path: Path) -> np.ndarray | None:
    """The values in the file, or None where OpenCV reads none."""
    try:
        return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        return None


def _is_whole(image: np.ndarray, stored: np.ndarray | None) -> bool:
    """Whether 8 bits show what is stored: not for 12 bits in 16, which turn nearly black, nor where clipped."""
    if stored is None or stored.dtype == np.uint8:
        return True
    if stored.dtype != np.uint16 or stored.max() < 1 << 14:
        return False
    colors = stored if stored.ndim == 2 else stored[..., :3]
    return abs(image.mean() - colors.mean() / 257) < 64  # which leaves room for colors that turn gray
