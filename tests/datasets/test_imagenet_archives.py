"""ImageNet from archives as the official ones are made, in small: 1000 classes with one training image each."""

from __future__ import annotations

import io
import random
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmiformer.datasets.imagenet_archives import prepare_imagenet, read_validation_classes
from mmiformer.datasets.sources import IMAGENET
from mmiformer.errors import MissingFile, UserError

from ..left_out import needs_extra
from ..other_process import at_work

needs_extra('imagenet')
from scipy.io import savemat  # noqa: E402

CLASSES = [f'n{number:08d}' for number in range(1000)]
NUMBERS = random.Random(0).sample(range(1, 1001), 1000)  # of the development kit: not in the order of the names
VALIDATED = random.Random(1).sample(range(1000), 1000) + [3, 3, 999]  # the class of each validation image


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def meta() -> bytes:
    """What the development kit calls meta.mat: first the classes, then groups of them."""
    names = ['ILSVRC2012_ID', 'WNID', 'words', 'gloss', 'num_children', 'children', 'num_train_images']
    synsets = np.zeros((1002, 1), [(name, object) for name in names])
    pairs = sorted(zip(NUMBERS, CLASSES, strict=True)) + [(1001, 'n90000000'), (1002, 'n90000001')]
    for row, (number, name) in zip(synsets, pairs, strict=True):
        children = np.arange(3, dtype=np.uint16)[None] if number > 1000 else np.zeros((1, 0))
        row[0] = (np.uint16(number), name, 'a, b', 'what it is', np.uint8(children.size), children, np.uint16(1300))
    file = io.BytesIO()
    savemat(file, dict(synsets=synsets), do_compression=True)
    return file.getvalue()


@pytest.fixture(scope='module')
def archives(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('archives')
    with tarfile.open(folder / 'ILSVRC2012_img_train.tar', 'w') as outer:
        for name in CLASSES:
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode='w') as archive:
                add(archive, f'{name}_1.JPEG', f'train {name}'.encode())
            add(outer, f'{name}.tar', inner.getvalue())
    with tarfile.open(folder / 'ILSVRC2012_img_val.tar', 'w') as archive:
        for number, label in enumerate(VALIDATED, 1):
            add(archive, f'ILSVRC2012_val_{number:08d}.JPEG', f'val {CLASSES[label]}'.encode())
    with tarfile.open(folder / 'ILSVRC2012_devkit_t12.tar.gz', 'w:gz') as archive:
        add(archive, 'ILSVRC2012_devkit_t12/data/meta.mat', meta())
        lines = ''.join(f'{NUMBERS[label]}\n' for label in VALIDATED)
        add(archive, 'ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt', lines.encode())
    return folder


@pytest.fixture
def root(archives, tmp_path) -> Path:
    for path in archives.iterdir():
        (tmp_path / path.name).hardlink_to(path)
    return tmp_path


@pytest.fixture(scope='module')
def source(archives):
    """The data set as it is known, with the sizes of these archives."""
    known = [replace(one, size=(archives / one.name).stat().st_size) for one in IMAGENET.archives]
    train, val = IMAGENET.splits
    splits = (replace(train, count=1000), replace(val, count=len(VALIDATED)))
    return replace(IMAGENET, archives=tuple(known), splits=splits)


def test_every_image_comes_to_its_class(source, root):
    expected = dict(training=1000, validation=len(VALIDATED))
    assert prepare_imagenet(source, root) == expected
    for split in ('train', 'val'):
        files = list((root / split).rglob('*.JPEG'))
        assert len(files) == expected['training' if split == 'train' else 'validation']
        assert all(path.read_text() == f'{split} {path.parent.name}' for path in files)
    assert {path.name for path in root.iterdir()} == {'train', 'val', '.lock', *(one.name for one in source.archives)}
    # Whole already, with archives or without them.
    before = {path: path.stat().st_mtime_ns for path in root.rglob('*.JPEG')}
    assert prepare_imagenet(source, root, remove_archives=True) == prepare_imagenet(source, root) == expected
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*.JPEG')} == before
    assert not (root / source.archives[0].name).exists()


def test_it_goes_on_where_it_stopped(source, root):
    prepare_imagenet(source, root, val_only=True)
    assert not (root / 'train').exists()
    whole = root / 'val' / CLASSES[3]
    assert len(list(whole.iterdir())) == 3
    for path in whole.iterdir():
        path.unlink()
    whole.rmdir()  # as if it had been stopped before this one
    assert prepare_imagenet(source, root, val_only=True) == dict(validation=len(VALIDATED))


def test_two_at_once(source, root):
    with at_work(root), pytest.raises(UserError, match='another process is at work'):
        prepare_imagenet(source, root)
    assert not (root / 'train').exists() and not (root / 'val').exists()


def test_what_is_wrong(source, root):
    train, val, devkit = (root / one.name for one in source.archives)
    whole = devkit.read_bytes()
    devkit.unlink()
    with pytest.raises(MissingFile, match='(?s)devkit.*account.*image-net.org'):
        prepare_imagenet(source, root, val_only=True)
    devkit.write_bytes(bytes(len(whole)))
    with pytest.raises(UserError, match='not the development kit'):
        prepare_imagenet(source, root, val_only=True)
    devkit.write_bytes(whole)
    val.unlink(), val.write_bytes(b'short')
    with pytest.raises(UserError, match='5 bytes instead of'):
        prepare_imagenet(source, root, val_only=True)
    (root / 'train' / CLASSES[0]).mkdir(parents=True)
    train.unlink()
    with pytest.raises(UserError, match='0 images in 1 folders'):
        prepare_imagenet(source, root)


def test_sizes_of_the_official_archives():
    """As torchvision and mmpretrain's users know them."""
    assert [split.count for split in IMAGENET.splits] == [1_281_167, 50_000]
    assert [one.training_only for one in IMAGENET.archives] == [True, False, False]


def test_classes_of_the_validation_images(archives):
    names = read_validation_classes(archives / 'ILSVRC2012_devkit_t12.tar.gz')
    assert names == [CLASSES[label] for label in VALIDATED]
