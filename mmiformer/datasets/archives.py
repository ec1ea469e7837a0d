"""Archives of data sets: downloads that go on where they stopped, and unpacking that leaves no half file."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import time
import zipfile
from pathlib import Path

import rich.progress
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ..errors import MissingFile, UserError
from .sources import Archive

# No --speed-limit for connections that stall: after it, --retry would drop what has arrived (curl 7.88).
CURL = (
    *('curl', '--fail', '--location', '--silent', '--show-error', '--continue-at', '-'),
    *('--retry', '3', '--connect-timeout', '30', '--keepalive-time', '10'),
)
CONSOLE = Console(stderr=True)


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
                message = curl.stderr.read().strip() or f'curl ended with status {curl.returncode}'
            if curl.returncode == 0:
                return
            if 'Cannot resume' in message:  # this server sends whole files alone
                part.unlink()
    if (arrived := _size(part)) < archive.size:
        raise UserError(
            f'Cannot download {url}\nto {part.with_suffix("").absolute()}: {message}. '
            + (f'{decimal(arrived)} are kept, and the same command goes on from there. ' if arrived else '')
            + 'Behind a proxy, set http_proxy and https_proxy. Or put the file at that path by hand.'
        )


def _part(file: Path) -> Path:
    return file.with_name(f'{file.name}.part')


def missing_bytes(file: Path, archive: Archive) -> int:
    """How much of an archive is still to be downloaded to `file`."""
    return max(archive.size - _size(file) - _size(_part(file)), 0)


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
