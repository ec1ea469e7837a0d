"""One run of a benchmark: build the contestants, time them in turns, and put together what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .contestants import Contestant
from .forms import Entry, Workload, prepare
from .memory import kept_for_backward, peak_memory
from .peak import copy_peak, matmul_peak
from .products import roofline
from .timing import Spread, interleave, ratio, spread, stopwatch


@dataclass(frozen=True)
class Plan:
    """What a run measures.

    Attributes:
        contestants: Which networks, in which forms.
        baseline: The one of them that ratios are to.
        sizes: (height, width) of the images; growth is measured from the first.
        batches: Images in a batch.
        train: Whether a step is a forward and a backward pass with frozen batch norms, or a forward pass.
        device: Where.
        dtype: In what, where the contestants' names do not say it.
        rounds: How often each contestant is timed.
        warmup: How often it is run before.
        memory: Whether memory is measured too.
    """

    contestants: Sequence[Contestant]
    baseline: Contestant
    sizes: Sequence[tuple[int, int]]
    batches: Sequence[int]
    train: bool
    device: torch.device
    dtype: torch.dtype
    rounds: int
    warmup: int
    memory: bool


@dataclass(frozen=True)
class Row:
    """What was measured of a contestant at one size and batch.

    Attributes:
        name: The contestant, as it was asked for.
        label: Its name in print.
        height: Height of the images.
        width: Their width.
        batch: Images in a batch.
        dtype: Of the arithmetic.
        parameters: Trainable numbers of the plain network.
        macs: Multiply-accumulates of a step.
        difference: Between its maps and the plain network's in float32, relative to the largest value of the level.
        seconds: Of a step, round by round.
        time: Median and quartiles of them.
        ratio: Median and quartiles of the time over the baseline's in the same round, at the same size and batch.
        growth: Median and quartiles of the time over its own at the first size in the same round, with the same batch.
        of_matmul_peak: `macs` over the time over the machine's measured peak.
        of_roofline: The least time of its products on this machine over the time.
        peak_memory: Bytes that a step takes at most above what was in use before; None if not measured.
        memory_growth: That over its own at the first size.
        kept: Bytes that are kept for the backward pass; None if not measured.
        published: {'box_AP', 'mask_AP', 'mIoU'} that are published for the network, as far as they are.
    """

    name: str
    label: str
    height: int
    width: int
    batch: int
    dtype: str
    parameters: int
    macs: int
    difference: float
    seconds: list[float]
    time: Spread
    ratio: Spread
    growth: Spread
    of_matmul_peak: float
    of_roofline: float
    peak_memory: int | None
    memory_growth: float | None
    kept: int | None
    published: dict[str, float]


@dataclass(frozen=True)
class Peaks:
    """What the machine was measured to do at most.

    Attributes:
        macs: {dtype: multiply-accumulates per second} of large matrix products.
        bytes: Bytes per second of copying.
    """

    macs: dict[str, float]
    bytes: float


def measure(plan: Plan, say: Callable[[str], None] = print) -> tuple[list[Row], Peaks]:
    """Measure.

    Args:
        plan: What to measure.
        say: Told what is going on.

    Returns:
        The rows, size by size and batch by batch in the order of the contestants, and the machine's peaks.

    Raises:
        ImportError: A contestant is one of timm's, and timm is not installed.
    """
    entries: dict[tuple[Contestant, int, int, int], Entry] = {}
    for height, width in plan.sizes:
        for batch in plan.batches:
            workload = Workload(height, width, batch, plan.train, plan.device, plan.dtype)
            for contestant in plan.contestants:
                say(f'building {contestant.name}, {batch} x {height} x {width}')
                entries[contestant, height, width, batch] = prepare(contestant, workload)
    dtypes = list(dict.fromkeys(entry.dtype for entry in entries.values()))
    say(f'measuring what the machine can do at most in {", ".join(map(_name, dtypes))}')
    before = _peaks(plan.device, dtypes)
    say(f'timing {len(entries)} in turns: {plan.warmup} rounds to warm up, {plan.rounds} that count')
    steps = [entry.step for entry in entries.values()]
    taken = interleave(steps, plan.rounds, plan.warmup, stopwatch(plan.device))
    seconds = dict(zip(entries, taken, strict=True))
    peaks = _best(before, _peaks(plan.device, dtypes))
    memory: dict[tuple, int | None] = dict.fromkeys(entries)
    kept: dict[tuple, int | None] = dict.fromkeys(entries)
    if plan.memory:  # last: afterwards this process is slower
        say('measuring memory')
        memory = {key: peak_memory(entry.step, plan.device) for key, entry in entries.items()}
        if plan.train:
            kept = {key: kept_for_backward(entry.forward, entry.weights) for key, entry in entries.items()}

    rows = []
    for key, entry in entries.items():
        contestant, height, width, batch = key
        first = (contestant, *plan.sizes[0], batch)
        rows.append(
            Row(
                name=contestant.name,
                label=contestant.label,
                height=height,
                width=width,
                batch=batch,
                dtype=_name(entry.dtype),
                parameters=entry.parameters,
                macs=sum(product.macs for product in entry.work),
                difference=entry.difference,
                seconds=seconds[key],
                time=spread(seconds[key]),
                ratio=ratio(seconds[key], seconds[plan.baseline, height, width, batch]),
                growth=ratio(seconds[key], seconds[first]),
                **_shares(entry, spread(seconds[key]).median, peaks),
                peak_memory=memory[key],
                memory_growth=memory[key] / memory[first] if memory[key] and memory[first] else None,
                kept=kept[key],
                published=contestant.published,
            )
        )
    return rows, peaks


def _shares(entry: Entry, seconds: float, peaks: Peaks) -> dict[str, float]:
    macs_per_second = peaks.macs[_name(entry.dtype)]
    least = sum(product.macs for product in entry.work) / macs_per_second
    bound = roofline(entry.work, macs_per_second, peaks.bytes, entry.dtype.itemsize)
    return dict(of_matmul_peak=least / seconds, of_roofline=bound / seconds)


def _peaks(device: torch.device, dtypes: Sequence[torch.dtype]) -> Peaks:
    return Peaks({_name(dtype): matmul_peak(device, dtype) for dtype in dtypes}, copy_peak(device))


def _best(one: Peaks, other: Peaks) -> Peaks:
    macs = {dtype: max(one.macs[dtype], other.macs[dtype]) for dtype in one.macs}
    return Peaks(macs, max(one.bytes, other.bytes))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')
