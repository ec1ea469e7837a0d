"""MMEngine's training loops, whose randomness depends on where a run stands and not on what it did before.

A sample's random numbers (crops, flips, colors) follow from the run's seed, the process, the iteration that the sample
is for, and its place in the batch; an iteration's (dropout, stochastic depth, sampled proposals) from seed, process and
iteration. So a resumed run draws the same numbers as one that was never stopped, with any number of workers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader, Dataset, Sampler


def seed_all(*numbers: int) -> None:
    """Seed all generators of this process, by numbers that say where a run stands."""
    # Their count is in it, since SeedSequence ignores zeros at the end.
    for_python, for_numpy, for_torch = np.random.SeedSequence((len(numbers), *numbers)).generate_state(3)
    random.seed(int(for_python))
    np.random.seed(for_numpy)
    torch.manual_seed(int(for_torch))


class NumberedBatches(Sampler):
    """A batch sampler that gives (iteration, indices), and can start in the middle without loading what it skips.

    Args:
        batches: The batch sampler.
        endless: Whether to begin again whenever `batches` ends.

    Attributes:
        skip: How many batches are done already.
        iteration: The iteration that the first batch, skipped or not, is for.
    """

    def __init__(self, batches: Sampler, endless: bool):
        self.batches, self.sampler, self.endless = batches, batches.sampler, endless
        self.skip = self.iteration = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[int, Sequence[int]]]:
        batches = self._rounds() if self.endless else self.batches
        skip = self.skip
        for number, indices in enumerate(batches):
            if number >= skip:
                yield self.iteration + number, indices

    def _rounds(self) -> Iterator[Sequence[int]]:
        for number in count():
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(number)
            yield from self.batches


def _load_batch(dataset: Dataset, seed: int, rank: int, numbered: tuple[int, Sequence[int]]) -> list:
    iteration, indices = numbered
    samples = []
    for place, index in enumerate(indices):
        seed_all(seed, rank, iteration, place)
        samples.append(dataset[index])
    return samples


def number_batches(loader: DataLoader, seed: int, endless: bool) -> NumberedBatches:
    """Let a loader, in place, number its batches and load each sample with a seed of its own.

    Args:
        loader: A loader of batches, which has not been iterated over.
        seed: The run's seed.
        endless: As for :class:`NumberedBatches`.

    Returns:
        The loader's new batch sampler.
    """
    batches = NumberedBatches(loader.batch_sampler, endless)
    # torch asks this of the data set, in the worker. On the object itself: hooks expect the data set they know.
    loader.dataset.__getitems__ = partial(_load_batch, loader.dataset, seed, get_rank())
    object.__setattr__(loader, 'batch_sampler', batches)  # torch forbids it, so that no iterator goes on with the old
    return batches


class EpochLoop(EpochBasedTrainLoop):
    """MMEngine's loop over epochs, which can also begin within one.

    Attributes:
        done: How many batches of the current epoch have been taken.
    """

    def __init__(self, runner, *args: Any, **kwargs: Any):
        super().__init__(runner, *args, **kwargs)
        self._batches = number_batches(self.dataloader, runner.seed, endless=False)
        self.done = 0

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self._batches.skip, self._batches.iteration = self.done, self.iter - self.done
        for idx, batch in enumerate(self.dataloader, self.done):
            self.done = idx + 1
            self.run_iter(idx, batch)
        self.done = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        seed_all(self.runner.seed, get_rank(), self.iter)
        super().run_iter(idx, data_batch)


class IterLoop(IterBasedTrainLoop):
    """MMEngine's loop over iterations, which goes on at any of them at once."""

    def __init__(self, runner, *args: Any, **kwargs: Any):
        super().__init__(runner, *args, **kwargs)
        number_batches(self.dataloader, runner.seed, endless=True)
        self.dataloader_iterator = _Stream(self.dataloader)

    def run_iter(self, data_batch: Sequence[dict]) -> None:
        seed_all(self.runner.seed, get_rank(), self.iter)
        super().run_iter(data_batch)


class _Stream:
    """What :class:`IterBasedTrainLoop` takes its batches from. No worker starts before the first is asked for."""

    def __init__(self, loader: DataLoader):
        self._loader = loader
        self._batches: Iterator | None = None

    def skip_iter(self, number: int) -> None:
        self._loader.batch_sampler.skip = number

    def __next__(self) -> Any:
        if self._batches is None:
            self._batches = iter(self._loader)
        return next(self._batches)


def end_workers(loader: DataLoader) -> None:
    """End the workers that a loader keeps. At the end of Python they would be killed, and leave temporary folders."""
    if loader._iterator is not None:
        loader._iterator._shutdown_workers()
        loader._iterator = None


def resumable(loop: dict) -> dict:
    """The config of a training loop, with MMEngine's two loops replaced by those of this module."""
    loop = dict(loop)
    if 'by_epoch' in loop:
        loop['type'] = 'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
    loops = dict(EpochBasedTrainLoop=EpochLoop, IterBasedTrainLoop=IterLoop)
    return {**loop, 'type': loops.get(loop['type'], loop['type'])}
