"""What label maps hold, as smallest data sets, for every type of data set of MMSegmentation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmiformer.checks.data import check_data, check_dataset
from mmiformer.checks.findings import errors

LABEL = np.repeat(np.arange(3, dtype=np.uint8), 8)[None].repeat(16, 0)  # three classes, counted from 0


@pytest.fixture
def data(tmp_path):
    """The config of a data set of four images, whose label maps a test may change."""
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / f'images/{number}.jpg'), np.dstack([LABEL] * 3))
        Image.fromarray(LABEL).save(tmp_path / f'labels/{number}.png')
    return dict(
        type='BaseSegDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=dict(classes=('road', 'car', 'rest')),
    )


def change(tmp_path, function, suffix='.png', numbers=range(4)):
    """Write other label maps: a function of the array gives an array or a picture."""
    for number in numbers:
        changed = function(LABEL)
        picture = changed if isinstance(changed, Image.Image) else Image.fromarray(changed)
        (tmp_path / f'labels/{number}.png').unlink()
        picture.save(tmp_path / f'labels/{number}{suffix}')


def palette(label):
    picture = Image.fromarray(label).convert('P')
    picture.putdata(label.ravel().tolist())
    picture.putpalette([128, 64, 128, 0, 0, 142, 90, 90, 90])
    return picture


def only(findings):
    (finding,) = findings
    return finding


def test_nothing_is_wrong(data, tmp_path):
    assert list(check_dataset(data)) == []
    change(tmp_path, palette)
    assert list(check_dataset(data)) == []
    change(tmp_path, lambda label: np.where(label == 0, 255, label).astype(np.uint8))  # pixels to ignore
    assert list(check_dataset(data)) == []
    change(tmp_path, lambda label: label + 1)
    assert list(check_dataset(dict(data, reduce_zero_label=True))) == []


WRONG = {
    'colors': (lambda label: Image.fromarray(label).convert('RGB'), 'do not have one channel'),
    'transparency': (lambda label: Image.fromarray(label).convert('LA'), r'do not have one channel'),
    'half the size': (lambda label: label[::2, ::2].copy(), '4 of 4 images are not of the size that'),
    'counted from 1': (lambda label: label + 1, 'hold numbers of no class, 3: with 3 classes'),
    'a class too many': (lambda label: label * 3 // 2, 'hold numbers of no class, 3'),
    'steps of a gray picture': (lambda label: label * 100, 'hold numbers of no class, 100, 200'),
    'numbers that wrap in 8 bits': (lambda label: label.astype(np.uint16) * 256, 'of no class, 256, 512'),
}


@pytest.mark.parametrize('name', WRONG)
def test_errors(data, tmp_path, name):
    function, message = WRONG[name]
    change(tmp_path, function)
    finding = only(errors(check_dataset(data)))
    assert message in finding.what and finding.fix
    assert len(finding.files) == 4


def test_only_some_are_wrong(data, tmp_path):
    change(tmp_path, lambda label: label + 1, numbers=[2])
    finding = only(check_dataset(data))
    assert finding.what.startswith('1 of 4 label maps') and finding.files == (str(tmp_path / 'labels/2.png'),)


def test_labels_counted_from_1(data, tmp_path):
    change(tmp_path, lambda label: label + 1)
    assert 'counted from 1: set reduce_zero_label=True' in only(check_dataset(data)).fix
    change(tmp_path, lambda label: np.maximum(label, 1) * 3 // 2)  # 1, 3
    change(tmp_path, lambda label: label, numbers=[0])
    assert 'If 0 is no class, set reduce_zero_label=True' in only(check_dataset(data)).fix


def test_labels_counted_from_0_and_reduced(data):
    finding = only(check_dataset(dict(data, reduce_zero_label=True)))
    assert finding.level == 'warning' and 'the last class never occurs' in finding.what
    assert 'set reduce_zero_label=False' in finding.fix


def test_255_as_foreground(data, tmp_path):
    change(tmp_path, lambda label: np.where(label == 1, 255, 0).astype(np.uint8))
    finding = only(check_dataset(data))
    assert finding.level == 'warning' and 'hold only 0, 255' in finding.what and 'write 1 there' in finding.fix


def test_labels_as_jpeg(data, tmp_path):
    change(tmp_path, lambda label: label * 80, suffix='.jpg')
    finding = only(check_dataset(dict(data, seg_map_suffix='.jpg')))
    assert 'write label maps as PNG' in finding.fix


def test_palettes_read_by_opencv_are_colors(data, tmp_path):
    change(tmp_path, palette)
    load = dict(type='LoadAnnotations', imdecode_backend='cv2')
    finding = only(check_dataset(dict(data, pipeline=[dict(type='LoadImageFromFile'), load])))
    assert 'do not have one channel' in finding.what and "imdecode_backend='pillow'" in finding.fix
    load['imdecode_backend'] = 'pillow'
    assert not list(check_dataset(dict(data, pipeline=[dict(type='LoadImageFromFile'), load])))


@pytest.mark.parametrize('content', [b'', b'<html>', None])
def test_a_broken_label(data, tmp_path, content):
    path = tmp_path / 'labels/1.png'
    path.write_bytes(path.read_bytes()[:45] if content is None else content)
    finding = only(check_dataset(data))
    assert finding.what.startswith(f'1 of 4 label maps cannot be read: {path}')


def test_an_image_that_is_turned_does_not_fit_its_label(data, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(4):
        Image.open(tmp_path / f'images/{number}.jpg').save(tmp_path / f'images/{number}.jpg', exif=exif)
    finding = only(check_dataset(data))
    assert finding.level == 'error' and '4 are annotated so, by their size' in finding.what


def test_labels_are_looked_at_only_where_they_are_read(data, tmp_path):
    change(tmp_path, lambda label: label + 1)
    assert not list(check_dataset(dict(data, pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')])))
    finding = only(check_dataset(dict(data, pipeline=[dict(type='LoadSpectralImage')])))
    assert finding.level == 'note' and 'no image was looked at' in finding.what


def test_a_selection_of_the_classes_of_a_type(data, tmp_path):
    """mmseg maps the numbers of all classes of the type to those selected."""
    from mmseg.datasets import ADE20KDataset

    names = ADE20KDataset.METAINFO['classes']
    change(tmp_path, lambda label: label + 148)
    ade = dict(data, type='ADE20KDataset', metainfo=dict(classes=names[:2]))
    assert not errors(check_dataset(ade))
    change(tmp_path, lambda label: label + 149)
    assert 'with 150 classes and reduce_zero_label=True they may hold 0 to 150' in only(check_dataset(ade)).what


def test_what_heads_ignore_is_no_class(data, tmp_path):
    change(tmp_path, lambda label: np.where(label == 0, 100, label).astype(np.uint8))
    cfg = dict(default_scope='mmseg', train_dataloader=dict(dataset=data))
    assert errors(check_data(Config(cfg), ['train_dataloader']))
    cfg['model'] = dict(decode_head=dict(num_classes=3, ignore_index=100))
    assert not errors(check_data(Config(cfg), ['train_dataloader']))


# ---- pairing


def test_suffixes_in_capitals(data, tmp_path):
    for number in range(2):
        (tmp_path / f'images/{number}.jpg').rename(tmp_path / f'images/{number}.JPG')
    finding = only(check_dataset(data))
    assert finding.level == 'error' and '2 of 4 images in' in finding.what and "img_suffix='.jpg'" in finding.what


def test_pictures_of_another_suffix(data, tmp_path):
    cv2.imwrite(str(tmp_path / 'images/x.png'), LABEL)
    finding = only(check_dataset(data))
    assert finding.level == 'warning' and finding.what.endswith('are left out: 1 in .png')


def test_another_suffix_of_labels(data):
    finding = only(check_dataset(dict(data, seg_map_suffix='_mask.png')))
    assert 'none of its files ends in _mask.png (one is ' in finding.what


def test_labels_and_images_alone(data, tmp_path):
    (tmp_path / 'images/0.jpg').unlink()
    finding = only(check_dataset(data))
    assert finding.level == 'warning' and '1 labels have no image, the first 0' in finding.what
    finding = only(check_dataset(dict(data, type='ADE20KDataset', metainfo=None)))
    assert finding.level == 'error' and 'Half unpacked?' in finding.what
    (tmp_path / 'labels/1.png').unlink()
    finding = only(check_dataset(data))
    assert finding.level == 'error' and '1 images have no label, the first 1' in finding.what
    (tmp_path / 'names.txt').write_text('2\n3\n')
    assert not list(check_dataset(dict(data, ann_file='names.txt')))
    (tmp_path / 'names.txt').write_text('2\n1\n')
    assert '1 of the 2 names in' in only(check_dataset(dict(data, ann_file='names.txt'))).what


def test_suffixes_are_those_of_the_type(tmp_path):
    for kind, end in (('leftImg8bit', '_leftImg8bit.png'), ('gtFine', '_gtFine_labelTrainIds.png')):
        (tmp_path / kind / 'bonn').mkdir(parents=True)
        cv2.imwrite(str(tmp_path / kind / 'bonn' / f'bonn_0{end}'), LABEL)
    data = dict(type='mmseg.CityscapesDataset', data_root=str(tmp_path))
    data['data_prefix'] = dict(img_path='leftImg8bit', seg_map_path='gtFine')
    assert [finding.what for finding in check_dataset(data)] == ['1 of 1 images are gray']
    (tmp_path / 'gtFine/bonn/bonn_0_gtFine_labelTrainIds.png').rename(tmp_path / 'gtFine/bonn/bonn_0_labelIds.png')
    assert 'none of its files ends in _gtFine_labelTrainIds.png' in only(check_dataset(data)).what
