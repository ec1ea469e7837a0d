"""ImageNet-1K from its official archives into one folder for each class. What is there already is kept."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from rich.progress import track

from ..errors import MissingFile, UserError, few
from ..files import alone_in
from .archives import CONSOLE
from .imagenet import find_classes
from .sources import Source

DEVKIT = 'ILSVRC2012_devkit_t12'


def prepare_imagenet(
    source: Source, root: str | os.PathLike[str], *, val_only: bool = False, remove_archives: bool = False
) -> dict[str, int]:
    """Make `root` hold ImageNet-1K in folders: unpack the archives that lie there, and check all of it.

    It may be stopped at any time and called again.

    Args:
        source: The data set: its archives (training, validation, development kit) and splits.
        root: Its folder, with the archives or with `train/` and `val/`.
        val_only: Leave out the training images.
        remove_archives: Delete each archive once it is unpacked.

    Returns:
        {split: number of images}.

    Raises:
        MissingFile: An archive is needed and not there; says where to get it.
        UserError: An archive is damaged or another, or images are missing at the end.
    """
    root, (train, val) = Path(root), source.splits
    training, validation, devkit = (root / archive.name for archive in source.archives)
    counts = {}
    for split, archive, unpack in ((train, training, _unpack_train), (val, validation, _unpack_val)):
        if split is train and val_only:
            continue
        folder = root / split.images
        if archive.is_file() or not folder.is_dir():
            for path, known in zip((training, validation, devkit), source.archives, strict=True):
                if path == archive or split is val and path == devkit:
                    _check_archive(source, path, known.size)
            try:
                with alone_in(root):
                    unpack(archive, folder, devkit)
            except tarfile.TarError as error:
                raise UserError(f'{archive.absolute()} is damaged: {error}. Fetch it again.') from error
        counts[split.name] = _check_folder(source, folder, split.count)
        if remove_archives:
            archive.unlink(missing_ok=True)
    return counts


def _check_archive(source: Source, path: Path, size: int) -> None:
    if not path.is_file():
        raise MissingFile(
            f'{path.absolute()} is missing. {source.title} cannot be fetched without an account: log in at '
            f'{source.page}, and put {few((archive.name for archive in source.archives), 3)} into '
            f'{path.parent.absolute()}; or name the folder that has train/ and val/ with a folder for each class.'
        )
    if path.stat().st_size != size:
        raise UserError(f'{path.absolute()} has {path.stat().st_size} bytes instead of {size}. Fetch it again.')


def _check_folder(source: Source, folder: Path, count: int) -> int:
    classes = find_classes(folder, ('.jpeg',))
    images = sum(map(len, classes.values()))
    if len(classes) != 1000 or images != count:
        raise UserError(
            f'{folder.absolute()} has {images} images in {len(classes)} folders, {source.title} has {count} in 1000. '
            'Delete it, and unpack it again by this command.'
        )
    return images


def _unpack_train(archive: Path, folder: Path, devkit: Path) -> None:
    """The archive of the training images holds an archive for each class."""
    with tarfile.open(archive) as outer:
        members = [member for member in outer if member.name.endswith('.tar')]
        for member in track(members, f'unpacking {archive.name}', console=CONSOLE):
            target = folder / Path(member.name).stem
            if not target.is_dir():
                with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                    _write(target, ((image.name, inner.extractfile(image)) for image in inner if image.isfile()))


def _unpack_val(archive: Path, folder: Path, devkit: Path) -> None:
    """The archive of the validation images holds all in one; the development kit has their classes."""
    names = read_validation_classes(devkit)
    with tarfile.open(archive) as images:
        members = sorted((member for member in images if member.isfile()), key=lambda member: member.name)
        if len(members) != len(names):
            raise UserError(
                f'{archive.absolute()} has {len(members)} images, and {devkit.name} classes of {len(names)}'
            )
        by_class: dict[str, list[tarfile.TarInfo]] = {}
        for member, name in zip(members, names, strict=True):
            by_class.setdefault(name, []).append(member)
        for name, chosen in track(by_class.items(), f'unpacking {archive.name}', console=CONSOLE):
            if not (folder / name).is_dir():
                _write(folder / name, ((image.name, images.extractfile(image)) for image in chosen))


def _write(target: Path, files: Iterator[tuple[str, IO[bytes]]]) -> None:
    """Write a class's folder, which appears when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix='.unpacking-', dir=target.parent.parent) as unfinished:
        inside = Path(unfinished, target.name)
        inside.mkdir()
        for name, content in files:
            (inside / Path(name).name).write_bytes(content.read())
        inside.replace(target)


def read_validation_classes(devkit: str | os.PathLike[str]) -> list[str]:
    """The class of each validation image, such as 'n01440764', in the order of the images' names.

    Raises:
        UserError: It is not the development kit, or mat4py, which reads it, is not installed.
    """
    try:
        from mat4py import loadmat
    except ImportError as error:
        raise UserError(
            f'the development kit is read by mat4py ({error}): pip install "mmiformer[imagenet]"'
        ) from error
    try:
        with tarfile.open(devkit) as kit, TemporaryDirectory() as folder:
            meta = Path(folder, 'meta.mat')
            meta.write_bytes(kit.extractfile(f'{DEVKIT}/data/meta.mat').read())
            synsets = loadmat(str(meta))['synsets']
            text = kit.extractfile(f'{DEVKIT}/data/{DEVKIT[:10]}_validation_ground_truth.txt').read().decode()
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise UserError(f'{Path(devkit).absolute()} is not the development kit of ILSVRC 2012: {error}') from error
    names = dict(zip(synsets['ILSVRC2012_ID'], synsets['WNID'], strict=True))
    return [names[int(number)] for number in text.split()]
