"""MMEngine's training loops, whose randomness depends on where a run stands and not on what it did before.

A sample's random numbers (crops, flips, colors) follow from the run's seed, the process, the iteration that the sample
is for, and its place in the batch; an iteration's (dropout, stochastic depth, sampled proposals) from seed, process and
iteration. So a resumed run draws the same numbers as one that was never stopped, with any number of workers. A broken
sample is replaced by another, drawn from the same numbers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, count
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop
from torch.nn import Module
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import UserError
from ..stack import skips_iterations
from .broken import BrokenSample, check_samples, ignored_numbers

REPLACEMENTS = 10  # how often a sample is replaced before a run is stopped
_NO_BATCH = (
    'train_dataloader: all images together make no batch. Reduce train_dataloader.batch_size, or set '
    'train_dataloader.drop_last=False'
)


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
            batches = iter(self.batches)
            first = next(batches, None)
            if first is None:
                raise UserError(_NO_BATCH)
            yield from chain([first], batches)


def _load_batch(
    dataset: Dataset, seed: int, rank: int, ignored: frozenset[int] | None, numbered: tuple[int, Sequence[int]]
) -> tuple[list, list[str]]:
    """The samples of a batch, and what is wrong with those that were replaced, or of which something was left out."""
    iteration, indices = numbered
    # Again, since hooks may have given it another pipeline.
    pipelines = [] if ignored is None else check_samples(dataset, ignored)
    samples, broken = [], []
    for place, index in enumerate(indices):
        seed_all(seed, rank, iteration, place)
        for number in count(1):
            try:
                samples.append(dataset[index])
                break
            except BrokenSample as error:
                broken.append(str(error))
                if number > REPLACEMENTS:
                    raise BrokenSample(f'{number} samples in a row are broken, the last one {error}') from error
                seed_all(seed, rank, iteration, place, number)
                index = random.randrange(len(dataset))
    for pipeline in pipelines:
        broken += pipeline.left_out
        pipeline.left_out.clear()
    return samples, broken


def _collate(collate: Callable[[list], Any], loaded: tuple[list, list[str]]) -> tuple[Any, list[str]]:
    samples, broken = loaded
    return collate(samples), broken


def number_batches(
    loader: DataLoader, seed: int, endless: bool, ignored: frozenset[int] | None = None
) -> NumberedBatches:
    """Let a loader, in place, number its batches and load each sample with a seed of its own.

    It then gives (batch, what is wrong with the samples that were replaced).

    Args:
        loader: A loader of batches, which has not been iterated over.
        seed: The run's seed.
        endless: As for :class:`NumberedBatches`.
        ignored: Replace broken samples; numbers in label maps that are no class. None: they are not looked for.

    Returns:
        The loader's new batch sampler.
    """
    batches = NumberedBatches(loader.batch_sampler, endless)
    # torch asks this of the data set, in the worker. On the object itself: hooks expect the data set they know.
    loader.dataset.__getitems__ = partial(_load_batch, loader.dataset, seed, get_rank(), ignored)
    loader.collate_fn = partial(_collate, loader.collate_fn)
    object.__setattr__(loader, 'batch_sampler', batches)  # torch forbids it, so that no iterator goes on with the old
    return batches


def _ignored(runner) -> frozenset[int] | None:
    """What :func:`number_batches` takes of a runner."""
    return None if runner.broken_data is None else ignored_numbers(runner.cfg)


class EpochLoop(EpochBasedTrainLoop):
    """MMEngine's loop over epochs, which can also begin within one.

    Attributes:
        done: How many batches of the current epoch have been taken.
        broken: What is wrong with samples that were replaced, for the hook that counts them.
    """

    def __init__(self, runner, *args: Any, **kwargs: Any):
        super().__init__(runner, *args, **kwargs)
        if not len(self.dataloader):
            raise UserError(_NO_BATCH)
        self._batches = number_batches(self.dataloader, runner.seed, endless=False, ignored=_ignored(runner))
        self.done = 0
        self.broken: list[str] = []

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self._batches.skip, self._batches.iteration = self.done, self.iter - self.done
        for idx, (batch, broken) in enumerate(self.dataloader, self.done):
            self.done = idx + 1
            self.broken += broken
            self.run_iter(idx, batch)
        self.done = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        seed_all(self.runner.seed, get_rank(), self.iter)
        super().run_iter(idx, data_batch)


class IterLoop(IterBasedTrainLoop):
    """MMEngine's loop over iterations, which goes on at any of them at once.

    Attributes:
        broken: What is wrong with samples that were replaced, for the hook that counts them.
    """

    def __init__(self, runner, dataloader: dict, *args: Any, **kwargs: Any):
        BaseLoop.__init__(self, runner, dataloader)
        loader, self.broken = self.dataloader, []
        number_batches(loader, runner.seed, endless=True, ignored=_ignored(runner))
        stream = _Stream(loader, self.broken)
        # MMEngine 0.10.7 iterates over what it is given at once, which for a loader starts its workers.
        super().__init__(runner, stream, *args, **kwargs)
        self.dataloader, self.dataloader_iterator = loader, stream

    def run(self) -> Module:
        if not skips_iterations():
            self.dataloader_iterator.skip_iter(self.iter)
            self.dataloader_iterator.asked_again = self.iter
        return super().run()

    def run_iter(self, data_batch: Sequence[dict]) -> None:
        seed_all(self.runner.seed, get_rank(), self.iter)
        super().run_iter(data_batch)


class _Stream:
    """What :class:`IterBasedTrainLoop` takes its batches from. No worker starts before the first is asked for.

    Attributes:
        dataset: The loader's.
        asked_again: How many of the skipped batches will be asked for all the same.
    """

    def __init__(self, loader: DataLoader, broken: list[str]):
        self._loader, self._broken = loader, broken
        self._batches: Iterator | None = None
        self.dataset, self.asked_again = loader.dataset, 0

    def __iter__(self) -> _Stream:
        return self

    def skip_iter(self, number: int) -> None:
        self._loader.batch_sampler.skip = number

    def __next__(self) -> Any:
        if self.asked_again:
            self.asked_again -= 1
            return None
        if self._batches is None:
            self._batches = iter(self._loader)
        batch, broken = next(self._batches)
        self._broken += broken
        return batch


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
