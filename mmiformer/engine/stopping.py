"""Stopping a training at the end of an iteration, with a checkpoint, when a signal asks for it."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

import torch
from mmengine.dist import all_reduce, get_rank, is_distributed
from mmengine.hooks import EMAHook, Hook
from torch.utils.data import DataLoader

from .saving import WholeCheckpointHook


class Stopped(KeyboardInterrupt):
    """A training has stopped because of a signal, after it saved a checkpoint.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class StopSignals:
    """Within it, Ctrl-C and SIGTERM are only noted, until a second Ctrl-C, which ends the process at once.

    A second SIGTERM does not: where Slurm sends it to all processes of a job, torchrun passes it on once more. A signal
    often reaches the data loaders' workers too. They leave it to the process that they belong to, until that is done.
    Signals that this process ignores stay ignored.

    Attributes:
        number: The signal that came, or 0.
    """

    def __init__(self):
        self.number = 0
        self._process = os.getpid()
        self._done = mmap.mmap(-1, 1)  # shared with the workers
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        self._done[0] = 1
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def shield(self, loader: DataLoader) -> None:
        """Let a loader's workers take SIGTERM as this class says, in place of torch's handler, which ends them."""
        if multiprocessing.get_start_method() == 'fork':
            loader.worker_init_fn = partial(self._begin_worker, loader.worker_init_fn)

    def _begin_worker(self, begin: Callable[[int], None] | None, worker: int) -> None:
        if begin:
            begin(worker)
        if signal.SIGTERM in self._before:
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            if self._done[0]:
                os._exit(0)
            return
        if not self.number and get_rank() == 0:
            print('\nstopping at the end of this iteration; Ctrl-C again stops at once', file=sys.stderr, flush=True)
        self.number = number
        if signal.SIGINT in self._before:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


class StopHook(Hook):
    """Stop where :class:`StopSignals` has noted a signal, in all processes of the run after the same iteration.

    Args:
        signals: Where it is noted.
    """

    priority = 'LOWEST'  # after the checkpoints

    def __init__(self, signals: StopSignals):
        self._signals = signals

    def before_train(self, runner) -> None:
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                self._signals.shield(loop.dataloader)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._stop_if_asked(runner, runner.iter + 1)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if not self._signals.number or is_distributed():  # processes may have different numbers of images
            return
        averaging = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        if all(type(hook) is EMAHook for hook in averaging):  # MMPretrain's validates twice: after that
            for hook in averaging:
                hook.after_val_epoch(runner)  # the weights in the place of their averages
            self._stop_if_asked(runner, runner.iter)

    def after_val(self, runner) -> None:
        self._stop_if_asked(runner, runner.iter)

    def _stop_if_asked(self, runner, iteration: int) -> None:
        number = torch.tensor(self._signals.number)
        if is_distributed():
            all_reduce(number, 'max')
        if number:
            for hook in runner.hooks:
                if isinstance(hook, WholeCheckpointHook):
                    hook.save_interrupted(runner, iteration)
            raise Stopped(int(number))
