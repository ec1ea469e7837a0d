"""Downloading, unpacking and verifying COCO and ADE20K. What is there already is kept, so it resumes and repairs."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import shutil
import stat
import subprocess
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import rich.progress
from filelock import FileLock, Timeout
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ..errors import MissingFile, UserError
from .ade20k import check_ade20k
from .coco import check_coco
from .place import Place
from .sources import Archive, Source

# No --speed-limit: after it, --retry would drop what has arrived.
CURL = 'curl --fail --location --silent --show-error --continue-at - --retry 3 --connect-timeout 30'.split()
CONSOLE = Console(stderr=True)


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
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / '.prepare_data.lock', timeout=0):
            _check_space(source, root, archives, remove_archives)
            for archive in archives:
                file = root / archive.name
                if not _is_unpacked(archive, root):
                    download(f'{(base_url or source.base_url).rstrip("/")}/{archive.path}', file, archive)
                if file.exists():
                    unpack(file, root, archive.strip)
                    if remove_archives and _is_unpacked(archive, root):
                        file.unlink()
    except Timeout as error:
        raise UserError(f'Another process is preparing {root.absolute()}. Wait for it.') from error
    except UserError:
        raise
    except OSError as error:
        advice = (
            'Make room and run the command again' if error.errno == errno.ENOSPC else 'Fix that, or name another folder'
        )
        raise UserError(f'{source.title} cannot be written to {root.absolute()}: {error}. {advice}.') from error
    return verify(source, root, archives)


def download(url: str, file: Path, archive: Archive) -> None:
    """Fetch an archive with curl unless it is there, and check its size and hash in both cases.

    What has arrived is kept in `file`.part, and the next call goes on from there.

    Args:
        url: Where the archive is.
        file: The archive's final name.
        archive: What is known of it.

    Raises:
        UserError: It cannot be fetched, or is not the expected one.
    """
    part = _part(file)
    if not file.exists():
        _curl(url, part, archive)
        if problem := _difference(part, archive):
            part.unlink()
            raise UserError(
                f'{url} is not the expected file: {problem}. Perhaps the server sends a login or proxy page. What '
                f'arrived was deleted. Run the command again, or put the archive at {file.absolute()} by hand.'
            )
        part.replace(file)
    elif problem := _difference(file, archive):
        raise UserError(f'{file.absolute()} is damaged: {problem}. Delete it and run the command again.')


def _curl(url: str, part: Path, archive: Archive) -> None:
    if shutil.which(CURL[0]) is None:
        raise MissingFile(
            f'Data sets are fetched with curl, which is not installed. Install it, or put {url} into '
            f'{part.parent.absolute()} by hand.'
        )
    before, message = -1, ''
    with _progress() as progress:
        bar = progress.add_task(f'downloading {archive.name}', total=archive.size)
        while before < _size(part) < archive.size:  # a connection may break as long as something arrives
            before = _size(part)
            with subprocess.Popen([*CURL, '--output', part, url], stderr=subprocess.PIPE, text=True) as curl:
                try:
                    while curl.poll() is None:
                        progress.update(bar, completed=_size(part))
                        time.sleep(0.1)
                finally:
                    curl.terminate()
                message = curl.stderr.read().strip()
            if curl.returncode == 0:
                return
            if 'Cannot resume' in message:  # this server sends whole files alone
                part.unlink()
    if _size(part) < archive.size:
        raise UserError(
            f'Cannot download {url}\nto {part.with_suffix("").absolute()}: {message}. Run the command again to go on '
            f'from the {decimal(_size(part))} that are here; behind a proxy, set http_proxy and https_proxy. Or put '
            'the file at that path by hand.'
        )


def _part(file: Path) -> Path:
    return file.with_name(f'{file.name}.part')


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _difference(file: Path, archive: Archive) -> str | None:
    """How a file differs from what is known of the archive."""
    if _size(file) != archive.size:
        return f'it has {_size(file)} bytes instead of {archive.size}'
    if archive.sha256:
        digest = hashlib.sha256()
        with rich.progress.open(file, 'rb', description=f'checking {archive.name}', console=CONSOLE) as content:
            while chunk := content.read(1 << 20):
                digest.update(chunk)
        if digest.hexdigest() != archive.sha256:
            return f'its SHA-256 is {digest.hexdigest()} instead of {archive.sha256}'
    return None


def unpack(archive: str | os.PathLike[str], root: str | os.PathLike[str], strip: str = '') -> int:
    """Unpack a zip archive, leaving alone the files that are there in their full size.

    A file gets its name only when it is whole, so an interruption leaves no half file.

    Args:
        archive: The zip file.
        root: Where to.
        strip: Leading part of the names in the archive that is dropped.

    Returns:
        How many files were written.

    Raises:
        UserError: The archive is damaged, or has files that belong outside `root`.
        OSError: Something cannot be written.
    """
    archive, root = Path(archive), Path(root)
    try:
        with zipfile.ZipFile(archive) as file:
            members = [(info, _target(archive, root, info, strip)) for info in file.infolist() if not info.is_dir()]
            there = {folder: _sizes(folder) for folder in {target.parent for _, target in members}}
            todo = [
                (info, target) for info, target in members if there[target.parent].get(target.name) != info.file_size
            ]
            total = sum(info.file_size for info, _ in todo)
            root.mkdir(parents=True, exist_ok=True)
            if total > (free := shutil.disk_usage(root).free):
                raise OSError(errno.ENOSPC, f'{decimal(total)} are still needed and {decimal(free)} are free')
            if todo:
                with _progress() as progress:
                    bar = progress.add_task(f'unpacking {archive.name}', total=total)
                    for info, target in todo:
                        _extract(file, info, target)
                        progress.advance(bar, info.file_size)
            return len(todo)
    except zipfile.BadZipFile as error:
        raise UserError(
            f'{archive.absolute()} is not a whole zip archive: {error}. Delete it and run the command again.'
        ) from error


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
            counts[split.name] = check_ade20k(images, annotations, place=place)
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
            file = root / archive.name
            to_download = max(archive.size - _size(file) - _size(_part(file)), 0)
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


def _target(archive: Path, root: Path, info: zipfile.ZipInfo, strip: str) -> Path:
    """Where a member of an archive goes. Names are the archive's maker's choice: none may lead out of `root`."""
    name = info.filename.removeprefix(strip)
    parts = name.split('/')
    if '' in parts or '..' in parts or '\\' in name or ':' in name or stat.S_ISLNK(info.external_attr >> 16):
        raise UserError(f'{archive.absolute()} is not to be trusted: it holds {info.filename!r}. Nothing was unpacked.')
    return root.joinpath(*parts)


def _sizes(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}


def _extract(file: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name('.unpacking')  # not `whole_file`, whose fsync would take most of the time
    try:
        with file.open(info) as source, part.open('wb') as copy:
            shutil.copyfileobj(source, copy, 1 << 20)  # checks the CRC at its end
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _progress() -> Progress:
    text = TextColumn('{task.description}')
    return Progress(text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=CONSOLE)
