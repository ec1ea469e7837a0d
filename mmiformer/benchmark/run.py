"""One run of a benchmark: build networks in their forms, time them in turns, and put together what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..models import IFormer
from ..models.blocks import freeze_statistics
from .complexity import count
from .forms import Contestant, Maps
from .memory import kept_for_backward, peak_memory
from .peers import PEERS, build_peer, reparameterize
from .timing import Spread, interleave, matmul_peak, ratio, spread, stopwatch, track


@dataclass(frozen=True)
class Workload:
    """What is done with each network: a forward pass, or in training, with frozen batch norms, a backward pass too."""

    height: int
    width: int
    batch: int = 1
    train: bool = False
    device: torch.device = torch.device('cpu')
    dtype: torch.dtype = torch.float32  # for forms without one of their own


@dataclass(frozen=True)
class Entry:
    """A contestant that is ready to be timed.

    Attributes:
        step: Does the work once.
        forward: Its forward pass; what it returns hangs on the graph.
        weights: Its parameters and buffers.
        dtype: Of the arithmetic.
        parameters: Number of trainable numbers of the plain network.
        macs: Multiply-accumulates of a step.
        difference: Between its maps and the plain network's in float32: the largest, over the largest value of the
            level, of all levels.
    """

    step: Callable[[], Maps]
    forward: Callable[[], Maps]
    weights: list[Tensor]
    dtype: torch.dtype
    parameters: int
    macs: int
    difference: float


def prepare(contestant: Contestant, workload: Workload) -> Entry:
    """Build a contestant, and compare its maps with the plain network's on the very images that are timed.

    Raises:
        ImportError: It is one of timm's, and timm cannot be imported.
    """
    form, train = contestant.form, workload.train
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(workload.batch, 3, workload.height, workload.width, generator=generator).to(workload.device)
    network = _build(contestant, workload)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    with torch.no_grad():
        expected = network(image)
        if not (contestant.is_ours or train):
            network = reparameterize(network)
    counted, _ = count(contestant.name, network, network, image)
    macs = counted.macs
    if train:
        macs *= 3  # each product has two gradients of its size (the first layer's to the image is not computed)
        network.train()
        freeze_statistics(network)
    dtype = form.dtype or workload.dtype
    run, image = form.make(network, image, dtype)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def forward() -> Maps:
        return run(image)

    def step() -> Maps:
        with torch.set_grad_enabled(train):
            maps = forward()
            if train:
                sum(level.float().mean() for level in maps).backward()
        for parameter in trained:
            parameter.grad = None
        return maps

    with torch.set_grad_enabled(train):
        difference = largest_difference(forward(), expected)
    return Entry(step, forward, [*network.parameters(), *network.buffers()], dtype, parameters, macs, difference)


def _build(contestant: Contestant, workload: Workload) -> nn.Module:
    """A contestant's network before it gets its form, in evaluation mode: the same one at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if contestant.is_ours:  # not as it initializes itself: small weights let maps fade away
            network = IFormer(contestant.network, **dict(contestant.form.options))
        else:
            network = build_peer(PEERS[contestant.network], workload.height, workload.width)
        return randomize_norms(network).to(workload.device).eval()


@torch.no_grad()
def randomize_norms(network: nn.Module) -> nn.Module:
    """Give batch norms scales, shifts and statistics that matter; those of a new network change nothing when folded."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.weight.normal_(1, 0.1)
            module.bias.normal_(0, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(1, 1.5)
    return network


def largest_difference(maps: Maps, expected: Maps) -> float:
    """The largest difference of a level over the largest value that is expected in it, of all levels."""
    return max(
        ((one.float() - other).abs().max() / other.abs().max()).item()
        for one, other in zip(maps, expected, strict=True)
    )


@dataclass(frozen=True)
class Row:
    """What was measured of a contestant at one size and batch. A spread is median and quartiles."""

    name: str  # the contestant, as it was asked for
    label: str  # its name in print
    height: int
    width: int
    batch: int
    dtype: str
    parameters: int
    macs: int
    difference: float
    seconds: list[float]  # of a step, round by round
    time: Spread  # of them
    ratio: Spread  # of the time over the baseline's in the same round
    growth: Spread  # of the time over its own at the first size in the same round
    of_matmul_peak: float | None  # `macs` over the time over the machine's measured peak, which int8 has none of
    peak_memory: int | None  # bytes that a step takes at most above what was in use before, if measured
    memory_growth: float | None  # that over its own at the first size
    kept: int | None  # bytes that are kept for the backward pass, if measured
    published: dict[str, float]  # 'box_AP', 'mask_AP' and 'mIoU', as far as they are


def measure(
    contestants: Sequence[Contestant],
    workloads: Sequence[Workload],
    baseline: Contestant,
    rounds: int,
    warmup: int,
    memory: bool = False,
) -> tuple[list[Row], dict[str, float]]:
    """Measure all contestants at all workloads, in one run.

    Args:
        contestants: Which networks, in which forms.
        workloads: Sizes and batches, alike in all else. Growth is measured from the first size.
        baseline: The contestant that ratios are to.
        rounds: How often each is timed.
        warmup: How often it is run before.
        memory: Whether memory is measured too.

    Returns:
        The rows, workload by workload in the order of the contestants; and {dtype: MACs per second} of large matrix
        products, the most that the machine was measured to do.

    Raises:
        ImportError: A contestant is one of timm's, and timm cannot be imported.
    """
    pairs = [(contestant, workload) for workload in workloads for contestant in contestants]
    entries = {pair: prepare(*pair) for pair in track(pairs, 'building')}
    device, train = workloads[0].device, workloads[0].train
    dtypes = dict.fromkeys(entry.dtype for entry in entries.values() if entry.dtype.is_floating_point)
    before = [matmul_peak(device, dtype) for dtype in dtypes]
    taken = interleave([entry.step for entry in entries.values()], rounds, warmup, stopwatch(device))
    seconds = dict(zip(entries, taken, strict=True))
    peaks = {_name(dtype): max(peak, matmul_peak(device, dtype)) for dtype, peak in zip(dtypes, before, strict=True)}
    peak, kept = {}, {}
    for pair, entry in track(list(entries.items()), 'measuring memory') if memory else ():
        peak[pair] = peak_memory(entry.step, device)  # last: afterwards this process is slower
        kept[pair] = kept_for_backward(entry.forward, entry.weights) if train else None
    rows = []
    for (contestant, workload), entry in entries.items():
        pair = contestant, workload
        first = contestant, next(other for other in workloads if other.batch == workload.batch)
        time, peak_macs = spread(seconds[pair]), peaks.get(_name(entry.dtype))
        rows.append(
            Row(
                name=contestant.name,
                label=contestant.label,
                height=workload.height,
                width=workload.width,
                batch=workload.batch,
                dtype=_name(entry.dtype),
                parameters=entry.parameters,
                macs=entry.macs,
                difference=entry.difference,
                seconds=seconds[pair],
                time=time,
                ratio=ratio(seconds[pair], seconds[baseline, workload]),
                growth=ratio(seconds[pair], seconds[first]),
                of_matmul_peak=entry.macs / peak_macs / time.median if peak_macs else None,
                peak_memory=peak.get(pair),
                memory_growth=peak[pair] / peak[first] if peak.get(pair) and peak.get(first) else None,
                kept=kept.get(pair),
                published=contestant.published,
            )
        )
    return rows, peaks


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')
