"""What tells that a file or a polygon is damaged. Imports nothing of the package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import hypot

from PIL import Image, UnidentifiedImageError

# Start of an image file -> what stands before its pixels, and what after them. JPEGs hold whole thumbnails before them.
PIXELS = {b'\xff\xd8': (b'\xff\xda', b'\xff\xd9'), b'\x89PNG': (b'IDAT', b'IEND')}
FAR = 1e7  # pixels


def seems_cut(path: str) -> bool:
    """Whether an image file lacks its end; of other formats than JPEG and PNG this does not tell."""
    with open(path, 'rb') as file:
        start = file.read(4)
        file.seek(-min(os.path.getsize(path), 4096), os.SEEK_END)
        rest = file.read()
        return any(
            start.startswith(begin) and rest.rfind(after) <= rest.rfind(before)
            for begin, (before, after) in PIXELS.items()
        )


def is_cut(path: str) -> bool:
    """Whether an image file ends too early. OpenCV paints what is missing gray and says nothing."""
    if not seems_cut(path):
        return False
    try:
        with Image.open(path) as image:
            image.verify()  # the checksums of a PNG, whose missing pixels zeros may stand for
        with Image.open(path) as image:
            image.load()
    except Exception:  # SyntaxError, for one
        return True
    return False


def reason(error: Exception) -> str:
    """Why a file is no picture."""
    if isinstance(error, UnidentifiedImageError):
        return 'it is no picture'
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__


def draws_area(polygons: Sequence[Sequence[float]]) -> bool:
    """Whether the polygons of a mask, each x, y, x, y, ..., can be drawn, and one of them encloses an area."""
    return any(map(encloses_area, polygons)) and all(map(ends, polygons))


def begins_short(polygons: Sequence[Sequence[float]]) -> bool:
    """Whether the first polygon of a mask has too few points for pycocotools, which by it takes all for boxes, say.

    Where a toolbox loads masks, it leaves such polygons out and learns from the others.
    """
    return len(polygons) > 0 and len(polygons[0]) < 6


def ends(polygon: Sequence[float]) -> bool:
    """Whether drawing a polygon ends: it takes time and memory for each pixel of its outline, also outside."""
    try:
        return hypot(*polygon) < FAR  # no corner is farther, and none is NaN
    except (TypeError, OverflowError):
        return False


def encloses_area(polygon: Sequence[float]) -> bool:
    """Whether a polygon x, y, x, y, ... has three corners that are not on one line."""
    if len(polygon) < 6 or len(polygon) % 2:
        return False
    x, y, a, b, c, d = polygon[:6]
    try:
        if abs((a - x) * (d - y) - (b - y) * (c - x)) > 1e-6:  # nearly always, and quick
            return True
        others = list(zip(polygon[2::2], polygon[3::2], strict=True))
        width, height = next(((a - x, b - y) for a, b in others if (a, b) != (x, y)), (0, 0))
        return any(abs(width * (b - y) - height * (a - x)) > 1e-6 for a, b in others)
    except TypeError:  # not all are numbers
        return False
