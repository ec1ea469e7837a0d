"""What image files are, against what mmcv makes of them."""

from __future__ import annotations

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from mmiformer.checks.images import ImageLoader, check_images
from mmiformer.checks.reading import Everything, Sample

PIXELS = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


def save(path, orientation=None, pixels=PIXELS, **options):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return str(path)


def found(paths, sizes=None, loader=None, reader=None):
    sizes = sizes or [(80, 60)] * len(paths)
    return list(check_images(paths, sizes, loader or ImageLoader(), 'train', reader or Sample()))


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif', 'bmp'])
@pytest.mark.parametrize('reader', [Sample(), Everything(2)])
def test_whole_images(tmp_path, suffix, reader):
    assert found([save(tmp_path / f'{number}.{suffix}') for number in range(3)], reader=reader) == []


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('color_type', ['color', 'grayscale', 'unchanged', 'color_ignore_orientation'])
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif'])
@pytest.mark.parametrize('orientation', [None, 1, 3, 6])
def test_images_are_turned_as_mmcv_turns_them(tmp_path, suffix, orientation, color_type, backend):
    options = dict(lossless=True) if suffix == 'webp' else {}
    path = save(tmp_path / f'a.{suffix}', orientation, **options)
    look = ImageLoader(color_type, backend).look(path)
    read = mmcv.imread(path, color_type, backend=backend)
    plain = mmcv.imread(save(tmp_path / f'b.{suffix}', **options), color_type, backend=backend)
    assert look.size == read.shape[1::-1] and look.stored == (80, 60)
    assert look.turned == (read.shape != plain.shape or np.abs(read.astype(int) - plain).mean() > 20)


@pytest.mark.parametrize('orientation', [3, 6])
def test_orientation_is_told_with_its_ways_out(tmp_path, orientation):
    paths = [save(tmp_path / f'{number}.jpg', orientation if number < 3 else None) for number in range(5)]
    (finding,) = found(paths)
    assert finding.level == 'warning' and finding.what.startswith('3 of 5 images have an EXIF orientation')
    assert ('3 are annotated so, by their size' in finding.what) == (orientation == 6)
    assert "color_type='color_ignore_orientation'" in finding.fix and 'exiftool' in finding.fix
    assert finding.files == tuple(paths[:3])
    assert found(paths, loader=ImageLoader('color_ignore_orientation')) == []


def test_masks_of_pixels_cannot_be_read_in_another_size(tmp_path):
    path = save(tmp_path / 'a.jpg', 6)
    for masks, level in ((False, 'warning'), (True, 'error')):
        (finding,) = check_images([path], [(80, 60)], ImageLoader(), 'train', Sample(), masks)
        assert finding.level == level


def test_annotations_of_turned_pixels_fit(tmp_path):
    path = save(tmp_path / 'a.jpg', 6)
    assert found([path], [(60, 80)]) == []
    (finding,) = found([path], [(60, 80)], ImageLoader('color_ignore_orientation'))
    assert finding.level == 'error' and 'is 80 x 60, not 60 x 80' in finding.what
    (finding,) = found([path], [None])
    assert finding.level == 'warning'


@pytest.mark.parametrize('reader', [Sample(), Everything(1)])
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif', 'bmp', 'webp'])
@pytest.mark.parametrize('kept', [0.0, 0.3, 0.9])
def test_broken_images(tmp_path, kept, suffix, reader):
    whole, broken = save(tmp_path / f'a.{suffix}'), tmp_path / f'b.{suffix}'
    content = (tmp_path / f'a.{suffix}').read_bytes()
    broken.write_bytes(content[: int(kept * len(content))])
    if suffix in ('bmp', 'tif', 'webp') and kept and not reader.whole:
        return  # only their headers are looked at
    (finding,) = found([whole, str(broken)], reader=reader)
    assert finding.level == 'error' and finding.what.startswith(f'1 of 2 images cannot be read: {broken} (')
    assert ('0 bytes' in finding.what) == (not kept) and finding.files == (str(broken),)


def test_text_and_missing_files_are_no_images(tmp_path):
    (tmp_path / 'a.jpg').write_text('<html>not found</html>')
    (finding,) = found([str(tmp_path / 'a.jpg'), str(tmp_path / 'b.jpg')])
    assert finding.what.startswith('2 of 2 images cannot be read')


def test_another_size_than_annotated(tmp_path):
    paths = [save(tmp_path / '0.jpg'), save(tmp_path / '1.jpg', pixels=PIXELS[::2, ::2])]
    (finding,) = found(paths)
    assert finding.level == 'error' and '1 of 2 images are not of the size that' in finding.what
    assert f'{paths[1]} is 40 x 30, not 80 x 60' in finding.what


def test_gray_and_deep_images(tmp_path):
    paths = [save(tmp_path / '0.jpg', pixels=PIXELS[..., 0]), save(tmp_path / '1.jpg')]
    (finding,) = found(paths)
    assert finding.level == 'note' and finding.what == '1 of 2 images are gray'
    for pixels in (PIXELS, PIXELS[..., 0]):
        for suffix in ('png', 'tif'):
            cv2.imwrite(str(tmp_path / f'2.{suffix}'), pixels.astype(np.uint16) * 16)
            (finding,) = [one for one in found([str(tmp_path / f'2.{suffix}')]) if one.level != 'note']
            assert finding.level == 'warning' and 'more than 8 bits' in finding.what


def test_a_sample_is_spread_evenly_and_said(tmp_path):
    path = save(tmp_path / 'a.jpg', pixels=PIXELS[..., 0])
    (finding,) = found([path] * 1000)
    assert finding.what == '200 of 200 images in a sample of 1000 are gray'
    assert Sample().pick(range(1000)) == list(range(0, 1000, 5)) and Sample().pick(range(7)) == list(range(7))
    assert Sample().pick([]) == []
