"""Downloading, unpacking and verifying COCO and ADE20K. What is there already is kept, so it resumes and repairs."""

from __future__ import annotations

import errno
import fnmatch
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.filesize import decimal

from ..errors import UserError
from ..files import alone_in
from .ade20k import check_ade20k
from .archives import download, missing_bytes, unpack
from .coco import check_coco
from .place import Place
from .sources import Archive, Source


def prepare(
    source: Source,
    root: str | os.PathLike[str],
    *,
    base_url: str | None = None,
    val_only: bool = False,
    remove_archives: bool = False,
) -> dict[str, int]:
    """Make `root` hold the whole data set: download what is missing, unpack it and verify all of it.

    May be stopped at any time and called again. Archives are kept in `root`; one that is there already is taken. Where
    all files are there, they are verified (against the archives too, if those are there) and nothing else happens.

    Args:
        source: The data set.
        root: Its folder, the one that `source.variable` names. Made if missing.
        base_url: Where to take the archives from instead of `source.base_url`.
        val_only: Leave out archives that only training needs.
        remove_archives: Delete each archive once it is unpacked.

    Returns:
        {split: number of images} of what has been verified.

    Raises:
        UserError: An archive cannot be fetched or is damaged, the folder cannot be written, or something is missing at
            the end.
    """
    root = Path(root)
    archives = [archive for archive in source.archives if not (val_only and archive.training_only)]
    for archive in archives:
        if archive.strip and (root / archive.strip).is_dir() and not (root / source.splits[0].images).exists():
            raise UserError(f'{root.absolute()} is one folder too high: name {root / archive.strip} instead.')
    try:
        with alone_in(root):
            _check_space(source, root, archives, remove_archives)
            for archive in archives:
                file = root / archive.name
                if not _is_unpacked(archive, root):
                    download(f'{(base_url or source.base_url).rstrip("/")}/{archive.path}', file, archive)
                if file.exists():
                    unpack(file, root, archive.strip)
                    if remove_archives and _is_unpacked(archive, root):
                        file.unlink()
    except UserError:
        raise
    except OSError as error:
        advice = (
            'Make room and run the command again' if error.errno == errno.ENOSPC else 'Fix that, or name another folder'
        )
        raise UserError(f'{source.title} cannot be written to {root.absolute()}: {error}. {advice}.') from error
    return verify(source, root, archives)


def verify(source: Source, root: str | os.PathLike[str], archives: Sequence[Archive]) -> dict[str, int]:
    """Check that the splits whose images come from `archives` are whole.

    Returns:
        {split: number of images}.

    Raises:
        UserError: Something is missing.
    """
    counts, place = {}, Place(str(root), source)
    for split in source.splits:
        if not any(pattern.startswith(f'{split.images}/') for archive in archives for pattern in archive.holds):
            continue
        images, annotations = os.path.join(root, split.images), os.path.join(root, split.annotations)
        if annotations.endswith('.json'):
            counts[split.name] = len(check_coco(annotations, images, place=place).images)
        else:
            counts[split.name] = len(check_ade20k(images, annotations, place=place).names)
        if counts[split.name] != split.count:
            raise UserError(
                f'{os.path.abspath(annotations)} has {counts[split.name]} {split.name} images, {source.title} has '
                f'{split.count}. If it is a selection of your own, keep it apart and point {source.variable} at it; '
                'otherwise delete it and run the command again.'
            )
    return counts


def _check_space(source: Source, root: Path, archives: list[Archive], remove_archives: bool) -> None:
    """Say before downloads of hours that the disk is too small."""
    needed, largest = 0.0, 0
    for archive in archives:
        absent = 1 - sum(min(n, _count(root, p)) for p, n in archive.holds.items()) / sum(archive.holds.values())
        if absent:
            to_download = missing_bytes(root / archive.name, archive)
            needed += absent * archive.unpacked + (0 if remove_archives else to_download)
            largest = max(largest, to_download)
    needed += largest if remove_archives else 0
    free = shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f'{source.title} needs about {decimal(int(needed))} more in {root.absolute()}, and {decimal(free)} are '
            'free. Make room or name a folder on another disk.'
        )


def _is_unpacked(archive: Archive, root: Path) -> bool:
    return all(_count(root, pattern) >= number for pattern, number in archive.holds.items())


def _count(root: Path, pattern: str) -> int:
    folder, name = os.path.split(root / pattern)
    return len(fnmatch.filter(os.listdir(folder), name)) if os.path.isdir(folder) else 0
