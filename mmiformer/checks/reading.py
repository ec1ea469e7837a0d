"""Looking at files: at a sample of them, or at all of them in parallel."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
from rich.console import Console
from rich.progress import track

from ..errors import UserError

SAMPLE = 200
Item, Look = TypeVar('Item'), TypeVar('Look')


class Sample:
    """Looks at `SAMPLE` files of a data set, spread evenly, and only at what tells without decoding the image.

    Attributes:
        images: {a data set's place in the config: how many images it has, and how many the published one has, None if
            it is another}.
    """

    whole = False

    def __init__(self):
        self.images: dict[str, tuple[int, int | None]] = {}

    def pick(self, items: Sequence[Item]) -> list[Item]:
        """The items to look at."""
        number = min(len(items), SAMPLE)
        return [items[index * len(items) // number] for index in range(number)]

    def look(self, function: Callable[[Item], Look], items: Sequence[Item], where: str) -> list[Look]:
        """`function` of each item, of the data set at a place in the config."""
        with ThreadPoolExecutor(8) as pool:  # decoding and waiting for storage let other threads run
            return list(pool.map(function, items))

    def among(self, picked: Sequence, items: Sequence, what: str) -> str:
        """How to name what was looked at, after a number of them: '200 images'."""
        return f'{len(picked)} {what}' + (f' in a sample of {len(items)}' if len(picked) < len(items) else '')


class Everything(Sample):
    """Reads every file, in several processes, with a progress bar.

    Args:
        workers: Processes; None for one on each core.

    Attributes:
        read: {the data set's place in the config: how many images were read}.
    """

    whole = True

    def __init__(self, workers: int | None = None):
        super().__init__()
        self.workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count())
        self.read: dict[str, int] = {}

    def pick(self, items: Sequence[Item]) -> list[Item]:
        return list(items)

    def look(self, function: Callable[[Item], Look], items: Sequence[Item], where: str) -> list[Look]:
        self.read[where] = len(items)
        # A fork of this process would wait forever for OpenCV's threads, which it does not have.
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload([__name__])
        pool = ProcessPoolExecutor(self.workers, context, initializer=_begin)
        try:
            looks = pool.map(function, items, chunksize=16)
            return list(track(looks, where, total=len(items), console=Console(stderr=True)))
        except BrokenProcessPool as error:
            raise UserError(
                f'{where}: a process that reads was killed. Was there too little memory? Give fewer --workers.'
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    cv2.setNumThreads(1)
