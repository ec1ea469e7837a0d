"""Files that appear whole or not at all, and folders in which one process works at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError


@contextmanager
def whole_file(path: str | os.PathLike, sync: bool = True) -> Iterator[Path]:
    """Write a file beside its final place, and move it there once the `with` block ends without an error.

    A reader never sees half of the file, and an earlier file of that name stays until the new one is complete. Missing
    folders are made.

    Args:
        path: The file's final place.
        sync: Whether it must outlive a power cut, too, which takes milliseconds.

    Yields:
        The path to write to, with the same suffix.

    Raises:
        OSError: The file cannot be written, such as on a full disk; it says which.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file() and not path.is_dir():  # a device, which a file must not replace
        yield path
        return
    part = path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')
    try:
        yield part
        if sync:
            with part.open('rb') as file:
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno and not error.filename:  # of a write, which knows no name
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def expect_file(path: str | os.PathLike) -> None:
    """Find out before long work that a file cannot be written after it. Missing folders are made.

    Args:
        path: The file.

    Raises:
        OSError: It cannot.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=path.parent).close()


def read_json(path: Path, *keys: str) -> Any:
    """What a JSON file of this package's own holds.

    Args:
        path: The file.
        keys: What it must have, if it is to be a dict.

    Raises:
        UserError: It is damaged.
    """
    try:
        content = json.loads(path.read_text())
        if keys and (not isinstance(content, dict) or set(keys) - content.keys()):
            raise ValueError(f'it lacks {" or ".join(keys)}')
    except ValueError as error:
        raise UserError(f'{path} is damaged: {error}. Delete it, and run the command again') from error
    return content


@contextmanager
def alone_in(folder: str | os.PathLike) -> Iterator[None]:
    """Keep other processes out of a folder, as far as they ask by this function too, until the `with` block ends.

    The system lets go of it when this process ends, however that happens. Where the file system has no locks, nothing
    is kept out.

    Args:
        folder: The folder; it is made. Its file `.lock` stays.

    Raises:
        UserError: Another process works in it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / '.lock').open('a') as file:
        try:
            # Not flock, which the processes that load data would inherit, and hold when this one has been killed.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise UserError(
                f'another process is at work in {folder.absolute()}: wait for its end, or use another folder'
            ) from error
        except OSError:
            pass
        yield
