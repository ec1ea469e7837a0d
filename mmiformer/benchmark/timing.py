"""Timing several things in one run, in turns, so that what slows the machine for a while slows all of them."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

Step = Callable[[], object]


def stopwatch(device: torch.device) -> Callable[[Step], float]:
    """What times one step on a device, in seconds, until the device has done all of it."""
    return _cuda_seconds if device.type == 'cuda' else _seconds


def _seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _cuda_seconds(step: Step) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()  # the device is idle when the step begins, so that launching counts too
    start.record()
    step()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def interleave(
    steps: Sequence[Step], rounds: int, warmup: int, seconds: Callable[[Step], float], seed: int = 0
) -> list[list[float]]:
    """Time steps in rounds; in each round every step runs once, in an order of its own.

    Args:
        steps: What is timed.
        rounds: How many rounds count.
        warmup: How many rounds are run before, and do not count.
        seconds: Times one step, such as :func:`stopwatch` gives it.
        seed: Of the orders.

    Returns:
        For each step its seconds, round by round.
    """
    shuffle = random.Random(seed).shuffle
    order = list(range(len(steps)))
    measured: list[list[float]] = [[] for _ in steps]
    gc.collect()
    gc.disable()
    try:
        for number in range(warmup + rounds):
            shuffle(order)
            for index in order:
                taken = seconds(steps[index])
                if number >= warmup:
                    measured[index].append(taken)
    finally:
        gc.enable()
    return measured


class Spread(NamedTuple):
    """Median and quartiles of some values."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles; of one value it is all three."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method='inclusive'))


def ratio(seconds: Sequence[float], others: Sequence[float]) -> Spread:
    """Median and quartiles of the ratios of two steps' times, each taken within one round."""
    return spread([one / other for one, other in zip(seconds, others, strict=True)])
