"""Downloading, unpacking and verifying COCO and ADE20K. What is there already is kept, so it resumes and repairs."""

from __future__ import annotations

import errno
import fnmatch
import os
import shutil
import stat
import zipfile
from pathlib import Path

from ..download import DownloadError, Progress, download, human_size, locked
from .ade20k import check_ade20k
from .coco import check_coco
from .place import DatasetError, Place
from .sources import Archive, Source

TEMPORARY = '.unpacking'  # name of a file that is not whole yet, in the folder where it belongs


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
        DownloadError: An archive cannot be fetched.
        DatasetError: The folder cannot be written, an archive is damaged, or something is missing at the end.
    """
    root = Path(root)
    archives = [archive for archive in source.archives if not (val_only and archive.training_only)]
    for archive in archives:
        if archive.strip and (root / archive.strip).is_dir() and not (root / source.splits[0].images).exists():
            raise DatasetError(f'{root.absolute()} is one folder too high: name {root / archive.strip} instead.')
    try:
        root.mkdir(parents=True, exist_ok=True)
        _check_space(source, root, archives, remove_archives)
        for archive in archives:
            file = root / archive.name
            if not _is_unpacked(archive, root):
                url = f'{(base_url or source.base_url).rstrip("/")}/{archive.path}'
                download(url, file, sha256=archive.sha256, size=archive.size)
            if file.exists():
                unpack(file, root, archive.strip)
                if remove_archives and _is_unpacked(archive, root):
                    file.unlink()
                    file.with_name(f'{file.name}.sha256').unlink(missing_ok=True)
    except DownloadError:
        raise
    except OSError as error:
        advice = (
            'Make room and run the command again'
            if error.errno == errno.ENOSPC
            else 'Mend that, or name another folder'
        )
        raise DatasetError(f'{source.title} cannot be written to {root.absolute()}: {error}. {advice}.') from error
    return verify(source, root, archives)


def unpack(archive: str | os.PathLike[str], root: str | os.PathLike[str], strip: str = '') -> int:
    """Unpack a zip archive, leaving alone the files that are there in their full size.

    A file gets its name only when it is whole, so an interruption leaves no half file. Other processes that unpack the
    same archive wait.

    Args:
        archive: The zip file.
        root: Where to.
        strip: Leading part of the names in the archive that is dropped.

    Returns:
        How many files were written.

    Raises:
        DatasetError: The archive is damaged, or has files that belong outside `root`.
        OSError: Something cannot be written.
    """
    archive, root = Path(archive), Path(root)
    try:
        with (
            locked(archive, f'another process is unpacking {archive.name}, waiting for it'),
            zipfile.ZipFile(archive) as file,
        ):
            members = [(info, _target(archive, root, info, strip)) for info in file.infolist() if not info.is_dir()]
            there = {folder: _sizes(folder) for folder in {target.parent for _, target in members}}
            todo = [
                (info, target) for info, target in members if there[target.parent].get(target.name) != info.file_size
            ]
            total = sum(info.file_size for info, _ in todo)
            root.mkdir(parents=True, exist_ok=True)
            if total > (free := shutil.disk_usage(root).free):
                raise OSError(errno.ENOSPC, f'{human_size(total)} are still needed and {human_size(free)} are free')
            if todo:
                print(f'unpacking {len(todo)} files of {archive.name} ({human_size(total)})', flush=True)
            with Progress(f'unpacking {archive.name}', total) as bar:
                for info, target in todo:
                    _extract(file, info, target)
                    bar.update(info.file_size)
            return len(todo)
    except zipfile.BadZipFile as error:
        raise DatasetError(
            f'{archive.absolute()} is not a whole zip archive: {error}. Delete it and run the command again.'
        ) from error


def verify(
    source: Source, root: str | os.PathLike[str], archives: tuple[Archive, ...] | list[Archive]
) -> dict[str, int]:
    """Check that the splits whose images come from `archives` are whole.

    Returns:
        {split: number of images}.

    Raises:
        DatasetError: Something is missing.
    """
    counts, place = {}, Place(str(root), source)
    for split in source.splits:
        if not any(pattern.startswith(f'{split.images}/') for archive in archives for pattern in archive.holds):
            continue
        images, annotations = os.path.join(root, split.images), os.path.join(root, split.annotations)
        if annotations.endswith('.json'):
            counts[split.name] = len(check_coco(annotations, images, place=place).images)
        else:
            counts[split.name] = check_ade20k(images, annotations, place=place)
        if counts[split.name] != split.count:
            raise DatasetError(
                f'{os.path.abspath(annotations)} has {counts[split.name]} {split.name} images, {source.title} has '
                f'{split.count}. If it is a selection of your own, keep it apart and point {source.variable} at it; '
                'otherwise delete it and run the command again.'
            )
    return counts


def _check_space(source: Source, root: Path, archives: list[Archive], remove_archives: bool) -> None:
    """Say before downloads of hours that the disc is too small."""
    needed, largest = 0.0, 0
    for archive in archives:
        absent = 1 - sum(min(n, _count(root, p)) for p, n in archive.holds.items()) / sum(archive.holds.values())
        if absent:
            files = [root / archive.name, root / f'{archive.name}.part']
            to_download = archive.size - sum(file.stat().st_size for file in files if file.exists())
            needed += absent * archive.unpacked + (0 if remove_archives else max(to_download, 0))
            largest = max(largest, to_download)
    needed += largest if remove_archives else 0
    free = shutil.disk_usage(root).free
    if needed > free:
        raise DatasetError(
            f'{source.title} needs about {human_size(needed)} more in {root.absolute()}, and {human_size(free)} are '
            'free. Make room or name a folder on another disc.'
        )


def _is_unpacked(archive: Archive, root: Path) -> bool:
    return all(_count(root, pattern) >= number for pattern, number in archive.holds.items())


def _count(root: Path, pattern: str) -> int:
    folder, name = os.path.split(root / pattern)
    return len(fnmatch.filter(os.listdir(folder), name)) if os.path.isdir(folder) else 0


def _target(archive: Path, root: Path, info: zipfile.ZipInfo, strip: str) -> Path:
    """Where a member of an archive goes. Names are the archive's maker's choice: none may lead out of `root`."""
    name = info.filename.removeprefix(strip)
    parts = name.split('/')
    if '' in parts or '..' in parts or '\\' in name or ':' in name or stat.S_ISLNK(info.external_attr >> 16):
        raise DatasetError(
            f'{archive.absolute()} is not to be trusted: it holds {info.filename!r}. Nothing was unpacked.'
        )
    return root.joinpath(*parts)


def _sizes(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}


def _extract(file: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(TEMPORARY)
    try:
        with file.open(info) as source, open(temporary, 'wb') as copy:
            shutil.copyfileobj(source, copy, 1 << 20)  # checks the CRC at its end
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
