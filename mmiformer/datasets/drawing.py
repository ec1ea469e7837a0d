"""Drawing of the embedded mini data set: outlines, rasterizing, textures, backgrounds, light.

Pictures in the making are float64, (H, W, 3), 0 to 1. What is drawn is the same to the last bit on every machine:
OpenCV only fills polygons, in integers, and NumPy only does arithmetic that IEEE 754 defines exactly (no sine, no
power, no sum of floats along an axis).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

Outline = tuple[np.ndarray, ...]  # closed contours (K, 2) as (x, y); a second one cuts a hole
Window = tuple[slice, slice]  # rows and columns of a picture

_SUB = 4  # edges are drawn on a grid so many times finer than the pixels
_SHIFT = 8  # binary digits after the point in the coordinates that OpenCV gets

# (cos, sin) of whole degrees, rounded so that the last digit of a C library does not matter
DIRECTIONS = tuple((round(math.cos(math.radians(d)), 9), round(math.sin(math.radians(d)), 9)) for d in range(360))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number from `low` to `high`; unlike `rng.uniform`'s, no compiler can fuse its arithmetic."""
    return low + (high - low) * rng.random()


# ---- patterns, 0 to 1, at the shape coordinates u and v; edges are soft over `pixel`, the width of a pixel there


def _clip(values: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(values, 0.0), 1.0)


def _wave(t: np.ndarray, soft: float) -> np.ndarray:
    """Return a square wave of period 2: 0 around even numbers, 1 around odd ones."""
    ramp = 1 - np.abs(t - 2 * np.floor(t / 2) - 1)
    return _clip((ramp - 0.5) / soft + 0.5)


def _sectors(lines: int, u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    """Return 0 and 1 by turns in the sectors between `lines` lines through the center."""
    sign = np.ones_like(u)
    for line in range(lines):
        cos, sin = DIRECTIONS[line * 180 // lines]
        sign *= 2 * _clip((u * sin - v * cos) / pixel + 0.5) - 1
    return 0.5 + 0.5 * sign


def _rings(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return _wave(3.4 * np.sqrt(u * u + v * v), 3.4 * pixel)


def _checks(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    a, b = _wave(1.9 * (u + v) + 0.5, 2.7 * pixel), _wave(1.9 * (u - v) + 0.5, 2.7 * pixel)
    return a + b - 2 * a * b


def _stripes(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return _wave(4.5 * u, 4.5 * pixel)


def _dots(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    a, b = 2.8 * u, 2.8 * v
    a, b = a - np.floor(a + 0.5), b - np.floor(b + 0.5)
    return _clip((0.3 - np.sqrt(a * a + b * b)) / (2.8 * pixel) + 0.5)


# ---- shapes, in units of their radius around their center


def _polygon(corners: int, radius: float = 1.0, inner: float = 1.0) -> np.ndarray:
    """Return a regular polygon, (K, 2), whose every second corner is drawn in to `inner` of the radius."""
    points = np.array(DIRECTIONS)[:: 360 // corners] * radius
    points[1::2] *= inner
    return points


def _plus(arm: float) -> np.ndarray:
    """Return a cross, (12, 2), with arms of the half width `arm` that reach to 1."""
    quarter = [(1.0, -arm), (1.0, arm), (arm, arm)]
    points = []
    for _ in range(4):
        points += quarter
        quarter = [(-y, x) for x, y in quarter]
    return np.array(points)


@dataclass(frozen=True)
class Shape:
    """What all objects of a class share: outline, pattern, and roughly the hue, 0 to 1 around the circle."""

    contours: Outline
    pattern: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    hue: float


SHAPES = dict(
    disc=Shape((_polygon(60, 0.95),), _rings, 0 / 6),
    square=Shape((_polygon(4, 1.1),), _checks, 1 / 6),
    triangle=Shape((_polygon(3, 1.1),), _stripes, 2 / 6),
    star=Shape((_polygon(10, 1.12, inner=0.52),), partial(_sectors, 5), 3 / 6),
    ring=Shape((_polygon(60), _polygon(60, 0.46)), partial(_sectors, 4), 4 / 6),
    cross=Shape((_plus(0.36),), _dots, 5 / 6),
)
_HUES = 0.09  # how far an object's hue may be from its class's: neighbours just touch


@dataclass(frozen=True)
class Pose:
    """Where an object lies: center and radius in pixels; squeezed along its second axis, then turned by (cos, sin)."""

    x: float
    y: float
    radius: float
    squeeze: float
    turn: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator, height: int, width: int, radius: float) -> Pose:
        """Draw a pose whose center lies well inside a picture."""
        inset = 0.4 * radius
        x, y = between(rng, inset, width - inset), between(rng, inset, height - inset)
        return cls(x, y, radius, between(rng, 0.8, 1.0), DIRECTIONS[rng.integers(360)])

    def outline(self, shape: Shape) -> Outline:
        """Return the shape's contours in pixels."""
        cos, sin = self.turn
        placed = []
        for contour in shape.contours:
            u, v = contour[:, 0] * self.radius, contour[:, 1] * (self.radius * self.squeeze)
            placed.append(np.stack([self.x + (u * cos - v * sin), self.y + (u * sin + v * cos)], axis=1))
        return tuple(placed)

    def to_units(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the shape coordinates u and v of places in pixels."""
        cos, sin = self.turn
        dx, dy = x - self.x, y - self.y
        return (dx * cos + dy * sin) / self.radius, (dy * cos - dx * sin) / (self.radius * self.squeeze)


def rasterize(outline: Outline, height: int, width: int) -> tuple[np.ndarray, Window, int]:
    """Return how much an outline covers of each pixel, and where.

    Args:
        outline: Contours in pixels, where the first pixel reaches from 0 to 1.
        height: Of the picture.
        width: Of the picture.

    Returns:
        The covered share, float64, (h, w), of the pixels in a window of the picture; that window; and how many pixels
        the whole outline covers by half or more, with those outside the picture.
    """
    left, top = (int(v) for v in np.floor(outline[0].min(axis=0)) - 1)
    right, bottom = (int(v) for v in np.ceil(outline[0].max(axis=0)) + 1)
    fine = np.zeros(((bottom - top) * _SUB, (right - left) * _SUB), np.uint8)
    # whole numbers are the centers of (fine) pixels to OpenCV
    contours = [np.rint(((c - (left, top)) * _SUB - 0.5) * 2**_SHIFT).astype(np.int32) for c in outline]
    cv2.fillPoly(fine, contours, 1, lineType=cv2.LINE_8, shift=_SHIFT)
    rows = sum(fine[i::_SUB] for i in range(_SUB))
    coverage = sum(rows[:, i::_SUB] for i in range(_SUB)) / _SUB**2
    window = np.s_[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    inside = coverage[window[0].start - top : window[0].stop - top, window[1].start - left : window[1].stop - left]
    return inside, window, np.count_nonzero(coverage >= 0.5)


# ---- colors and light


def _color(
    rng: np.random.Generator, saturation: float, value: float, hue: float = 0.5, spread: float = 0.5
) -> np.ndarray:
    """Return a color (3,) of any hue, or of one no further than `spread` from `hue`."""
    distance = np.abs((between(rng, hue - spread, hue + spread) + np.array([0, 1 / 3, 2 / 3])) % 1.0 * 6 - 3)
    return value * (1 - saturation * (1 - _clip(distance - 1)))


def _centers(window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return the x (1, w) and y (h, 1) of the pixel centers of a window."""
    rows, columns = window
    return np.arange(columns.start, columns.stop)[None] + 0.5, np.arange(rows.start, rows.stop)[:, None] + 0.5


def _blur(values: np.ndarray, radius: int) -> np.ndarray:
    """Return a box blur, twice in each direction; in integers, so that the order of the sums does not matter."""
    sums = np.rint(values * 256).astype(np.int64)
    span = 2 * radius + 1
    for _ in range(2):
        sums = np.pad(sums, ((radius + 1, radius), (0, 0)), mode='edge').cumsum(axis=0)
        sums = sums[span:] - sums[:-span]
        sums = np.pad(sums, ((0, 0), (radius + 1, radius)), mode='edge').cumsum(axis=1)
        sums = sums[:, span:] - sums[:, :-span]
    return sums / (256 * span**4)


def paint(
    rng: np.random.Generator,
    image: np.ndarray,
    shape: Shape,
    pose: Pose,
    light: tuple[float, float],
) -> None:
    """Draw one object and the shadow it throws away from `light` into `image`, in place."""
    height, width = image.shape[:2]
    outline = pose.outline(shape)
    reach = 0.12 * pose.radius
    shadow, window, _ = rasterize(tuple(contour - np.array(light) * reach for contour in outline), height, width)
    image[window] *= 1 - 0.4 * _blur(shadow, max(round(reach / 2), 1))[..., None]

    coverage, window, _ = rasterize(outline, height, width)
    x, y = _centers(window)
    pattern = shape.pattern(*pose.to_units(x, y), 1 / (pose.radius * pose.squeeze))
    tone = _color(rng, between(rng, 0.55, 0.95), between(rng, 0.65, 1.0), shape.hue, _HUES)
    other = tone * between(rng, 0.35, 0.6) if rng.random() < 0.5 else 1 - (1 - tone) * between(rng, 0.2, 0.45)
    shade = 1 + 0.22 * (((x - pose.x) * light[0] + (y - pose.y) * light[1]) / pose.radius)
    color = _clip((tone + pattern[..., None] * (other - tone)) * shade[..., None])
    image[window] += coverage[..., None] * (color - image[window])


def _noise(rng: np.random.Generator, height: int, width: int, cell_y: float, cell_x: float) -> np.ndarray:
    """Return smooth noise, (H, W), 0 to 1, with bumps of `cell_y` x `cell_x` pixels."""
    y, x = np.arange(height) / cell_y, np.arange(width) / cell_x
    row, column = np.floor(y).astype(int), np.floor(x).astype(int)
    y, x = y - row, x - column
    y, x = y * y * (3 - 2 * y), x * x * (3 - 2 * x)
    knots = rng.random((row[-1] + 2, column[-1] + 2))
    rows = knots[row] + y[:, None] * (knots[row + 1] - knots[row])
    return rows[:, column] + x * (rows[:, column + 1] - rows[:, column])


def background(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    """Return plaster, planks, cloth or tiles, (H, W, 3), in two pale tones; `scale` 1 suits about 128 pixels."""
    x, y = _centers(np.s_[0:height, 0:width])
    step = between(rng, 9, 18) * scale
    fine = _noise(rng, height, width, 2 * scale, 2 * scale)
    broad = _noise(rng, height, width, 45 * scale, 45 * scale)
    kind = rng.integers(4)
    if kind == 0:  # plaster
        pattern = 0.6 * broad + 0.25 * _noise(rng, height, width, 9 * scale, 9 * scale) + 0.15 * fine
    elif kind == 1:  # planks, with the grain along them
        plank = np.floor(y / step).astype(int)
        grain = _noise(rng, height, width, 1.6 * scale, 36 * scale)
        joint = y - plank * step < scale
        pattern = (0.5 * rng.random(plank[-1, 0] + 1)[plank] + 0.5 * grain) * (1 - 0.7 * joint)
    elif kind == 2:  # cloth, of slanted threads
        cos, sin = DIRECTIONS[rng.integers(360)]
        warp, weft = (x * cos + y * sin) / (2 * scale), (y * cos - x * sin) / (2 * scale)
        pattern = 0.45 * broad + 0.2 * _wave(warp, 1.0) + 0.2 * _wave(weft, 1.0) + 0.15 * fine
    else:  # tiles
        row, column = np.floor(y / step).astype(int), np.floor(x / step).astype(int)
        joint = (y - row * step < scale) | (x - column * step < scale)
        tiles = rng.random((row[-1, 0] + 1, column[0, -1] + 1))[row, column]
        pattern = (0.55 * tiles + 0.3 * fine + 0.15) * (1 - 0.6 * joint)
    dark = _color(rng, between(rng, 0.1, 0.45), between(rng, 0.25, 0.45))
    bright = _color(rng, between(rng, 0.05, 0.3), between(rng, 0.5, 0.8))
    return dark + pattern[..., None] * (bright - dark)


def expose(rng: np.random.Generator, image: np.ndarray, light: tuple[float, float]) -> np.ndarray:
    """Return the finished picture, uint8: with light that falls off across it, its tint, and the camera's noise."""
    height, width = image.shape[:2]
    x, y = _centers(np.s_[0:height, 0:width])
    slope = ((x - width / 2) * light[0] + (y - height / 2) * light[1]) / max(height, width)
    exposure = between(rng, 0.8, 1.15) * (1 + between(rng, 0.1, 0.6) * slope)
    tint = 1 + 0.12 * (rng.random(3) - 0.5)
    grain = rng.integers(2, 10)
    noise = rng.integers(-grain, grain + 1, (2, *image.shape), np.int8)
    lit = _clip(image * exposure[..., None] * tint) * 255
    return np.rint(np.minimum(np.maximum(lit + (noise[0] + noise[1]), 0), 255)).astype(np.uint8)
