"""Finding what to predict, reading the frames of videos, and the folder that the results go to."""

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import MissingFile, UserError, few

logger = logging.getLogger(__name__)

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
VIDEOS = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg')


class BrokenSource(ValueError):
    """An image or a video cannot be read, or is too large to be predicted."""


@dataclass(frozen=True)
class Source:
    """An image or a video.

    Attributes:
        root: The deepest folder that holds all the sources of a run.
        file: The file, relative to `root`.
        name: What its results are called, without suffix: unique in the run, with the subfolders of `file`.
    """

    root: Path
    file: Path
    name: str

    @property
    def path(self) -> Path:
        return self.root / self.file

    @property
    def is_video(self) -> bool:
        return self.file.suffix.lower() in VIDEOS


def find_sources(given: Sequence[str], leave_out: Path | None = None) -> list[Source]:
    """The images and videos that a command line names, each of them once.

    Args:
        given: Files; folders, with their images and videos at any depth; or glob patterns. Links to folders are
            followed. Other files in folders and patterns are left out, and so are hidden files and folders.
        leave_out: A folder to skip, that of the results.

    Raises:
        MissingFile: There is no such file or folder, or no image and no video in it.
        UserError: A file is neither image nor video, by its suffix.
    """
    files: dict[Path, None] = {}  # a set that keeps the order
    for item in given:
        files.update(dict.fromkeys(_expand(item, leave_out)))
    root = Path(os.path.commonpath([file.parent for file in files]))
    relative = [file.relative_to(root) for file in files]
    return [Source(root, file, name) for file, name in zip(relative, unique_names(relative), strict=True)]


def _expand(item: str, leave_out: Path | None) -> list[Path]:
    path = Path(os.path.abspath(os.path.expanduser(item)))
    if path.is_file():
        if not _is_known(path):
            raise UserError(
                f'{item} is neither an image ({" ".join(IMAGES)}) nor a video ({" ".join(VIDEOS)}) by its suffix'
            )
        return [path]
    if path.is_dir():
        files = list(_walk(path, leave_out and Path(os.path.abspath(leave_out)), set()))
        found = [file for file in files if _is_known(file)]
        if others := [file for file in files if not _is_known(file)]:
            suffixes = few(sorted({file.suffix or file.name for file in others}))
            logger.warning(f'{item}: {len(others)} files are left out, neither image nor video by suffix: {suffixes}')
        what = f'{item} holds'
    elif glob.has_magic(item):
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if _is_known(Path(name)))
        what = f'{item} matches'
    else:
        raise MissingFile(f'{item}: there is no such file or folder')
    if not found:
        raise MissingFile(f'{what} no image ({" ".join(IMAGES)}) and no video ({" ".join(VIDEOS)})')
    return found


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in IMAGES + VIDEOS


def _walk(folder: Path, leave_out: Path | None, entered: set[Path]) -> Iterator[Path]:
    """All files below a folder, also through links to folders, but each folder once."""
    entered.add(folder.resolve())
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if path.name.startswith('.') or path == leave_out:
            continue
        if not path.is_dir():
            yield path
        elif path.resolve() not in entered:
            yield from _walk(path, leave_out, entered)


def unique_names(files: Sequence[Path]) -> list[str]:
    """The files without their suffixes, except where two would then be called the same."""
    names = [str(file.with_suffix('')) for file in files]
    while repeated := {name for name, times in Counter(names).items() if times > 1}:
        names = [str(file) if name in repeated else name for file, name in zip(files, names, strict=True)]
    return names


def check_folder(folder: str | os.PathLike, overwrite: bool = False) -> Path:
    """Check that results do not fall among other files unless that is wanted; nothing is made yet.

    Args:
        folder: The folder for the results, which need not be there.
        overwrite: Take a folder that holds something too. Its files of the same names will be replaced.

    Raises:
        UserError: It is a file, or it holds something and `overwrite` is False.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f'--out {folder} is a file; results go to a folder')
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise UserError(
            f'--out {folder} is there and not empty. Give another folder, or --overwrite to replace what is in it'
        )
    return folder


class Video:
    """The frames of a video, in BGR.

    Attributes:
        fps: Frames per second.
        length: How many frames the file says it has; it may be an estimate, or 0.

    Raises:
        BrokenSource: It cannot be opened.
    """

    def __init__(self, path: Path):
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise BrokenSource('cannot be read: it is not a video that OpenCV can open')
        fps, length = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = fps if 0 < fps < 1000 else 25.0  # some containers do not tell
        self.length = max(0, int(length))

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames, once.

        Raises:
            BrokenSource: The video ends more than a second, the error of an estimate, before it should.
        """
        number = 0
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            number += 1
            yield frame
        self._capture.release()
        if not number or number < self.length - self.fps:
            raise BrokenSource(f'breaks off: {number} of {self.length} frames could be read')
