"""What is read of an image file, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import cv2
import mmdet.datasets.transforms  # noqa: F401  registers LoadImageFromFile
import numpy as np
import pytest
from PIL import Image

from mmiformer.inference.images import Reader
from mmiformer.inference.sources import BrokenSource

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)


def read(path: Path, **load) -> tuple[np.ndarray, list[str]]:
    return Reader(dict(type='mmcv.LoadImageFromFile', **load)).read(path)


def sixteen(path: Path, highest: int, channels: int = 1) -> Path:
    cv2.imwrite(str(path), np.dstack([np.linspace(0, highest, 2400).astype(np.uint16).reshape(40, 60)] * channels))
    return path


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_twelve_bits_in_sixteen_are_named(suffix, channels, tmp_path):
    image, notes = read(sixteen(tmp_path / f'x{suffix}', 4095, channels))
    assert image.max() <= 16 and len(notes) == 1
    assert notes[0].startswith('holds uint16 values up to 4095, which the config reads as 8 bits up to 1')
    image, notes = read(sixteen(tmp_path / f'y{suffix}', 65535, channels))
    assert image.max() == 255 and notes == []
    _, notes = read(sixteen(tmp_path / f'z{suffix}', 4095, channels), color_type='unchanged')
    assert notes == []  # the config reads all 16 bits


def test_sixteen_bits_that_pillow_clips_are_named(tmp_path):
    image, notes = read(sixteen(tmp_path / 'x.png', 65535), imdecode_backend='pillow')
    assert np.median(image) == 255 and 'up to 65535, which the config reads as 8 bits up to 255' in notes[0]


def test_floats(tmp_path):
    Image.fromarray(NOISE.astype(np.float32)).save(tmp_path / 'x.tif')
    with pytest.raises(BrokenSource, match='cannot be read: the config reads no float32 values; convert it to 8 bits'):
        read(tmp_path / 'x.tif')
    image, notes = read(tmp_path / 'x.tif', color_type='unchanged')
    assert np.array_equal(image, NOISE) and notes == []


@pytest.mark.parametrize('suffix', ['.tif', '.webp', '.png'])
def test_pages_and_frames(suffix, tmp_path):
    pages = [Image.fromarray(np.dstack([NOISE // (k + 1)] * 3)) for k in range(3)]
    pages[0].save(tmp_path / f'x{suffix}', save_all=True, append_images=pages[1:], **dict(lossless=True))
    image, notes = read(tmp_path / f'x{suffix}')
    assert np.array_equal(image[..., 0], NOISE)
    assert notes == ['holds 3 pages or frames: only the first is predicted']
    pages[0].save(tmp_path / 'x.jpg', format='MPO', save_all=True, append_images=pages[1:])  # as many phones do
    assert read(tmp_path / 'x.jpg')[1] == []


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA'])
def test_dark_pictures_of_8_bits_are_no_news(mode, tmp_path):
    Image.fromarray(NOISE // 16).convert(mode).save(tmp_path / 'x.png')
    assert read(tmp_path / 'x.png')[1] == []


def test_a_frame_is_read_as_a_file(tmp_path):
    frame = cv2.resize(NOISE[:20].reshape(20, 20, 3), (64, 64))
    cv2.imwrite(str(tmp_path / 'x.png'), frame)
    for load in (dict(), dict(color_type='grayscale')):
        image, _ = read(tmp_path / 'x.png', **load)
        difference = Reader(dict(type='mmcv.LoadImageFromFile', **load)).frame(frame).astype(int) - image
        assert np.abs(difference).max() <= 1  # decoders round in their own way
