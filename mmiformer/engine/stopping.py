"""Stopping a training at the end of an iteration, with a checkpoint, when a signal asks for it."""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
from types import FrameType

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper

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
    """Within it, Ctrl-C and SIGTERM are only noted, each once; a second one ends the process at once.

    A signal often reaches the data loaders' workers too. They leave it to the process that they belong to, until that
    is done. Signals that this process ignores stay ignored.

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

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            if self._done[0]:
                os._exit(0)
            return
        self.number = number
        for other in self._before:
            signal.signal(other, signal.SIG_DFL)
        print('\nstopping at the end of this iteration; once more stops at once', file=sys.stderr, flush=True)


class StopHook(Hook):
    """Stop where :class:`StopSignals` has noted a signal, in all processes of the run after the same iteration.

    Args:
        signals: Where it is noted.
    """

    priority = 'LOWEST'  # after the checkpoints

    def __init__(self, signals: StopSignals):
        self._signals = signals

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper) or wrapper.should_update():  # a checkpoint has no gradients in it
            self._stop_if_asked(runner, runner.iter + 1)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self._signals.number and not is_distributed():  # processes may have different numbers of images
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
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
