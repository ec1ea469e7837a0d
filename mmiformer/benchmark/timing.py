"""Timing several things in one run, in turns, so that what slows the machine for a while slows all of them."""

from __future__ import annotations

import gc
import random
import statistics
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import rich.progress
import torch
from rich.console import Console

from ..errors import UserError

Step = Callable[[], object]
Item = TypeVar('Item')

# ---- the options of a command line


def add_timing(parser: ArgumentParser, rounds: int, warmup: int) -> None:
    """Add `--threads`, `--device`, `--rounds` and `--warmup`, the last two with these defaults."""
    parser.add_argument('--threads', type=positive, default=torch.get_num_threads(), help='default: %(default)s')
    parser.add_argument('--device', type=device, default='cpu', help='cpu (default), cuda, cuda:1, ...')
    parser.add_argument('--rounds', type=positive, default=rounds, help='that are timed (default: %(default)s)')
    parser.add_argument('--warmup', type=positive, default=warmup, help='before, untimed (default: %(default)s)')


def add_sizes(parser: ArgumentParser, also: str = '') -> None:
    """Add `--sizes`, by default 512 x 512; `also` is added to its help."""
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=image_size,
        default=[(512, 512)],
        metavar='SIZE',
        help=f'such as 512 or 800x1344 (H x W){also}',
    )


def settle(args: Namespace) -> None:
    """Use these threads and this device.

    Raises:
        UserError: The GPU is not there, or so many threads would be more than any machine has.
    """
    if args.threads > 1000:
        raise UserError(f'--threads {args.threads}: give a number up to 1000')
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    if args.device.type == 'cuda':
        if (args.device.index or 0) >= (number := torch.cuda.device_count()):
            raise UserError(f'--device {args.device} is none of the {number} GPUs that torch can use here')
        torch.cuda.set_device(args.device)


def positive(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f'{text!r} is not a whole number from 1 up')
    return int(text)


def image_size(text: str) -> tuple[int, int]:
    """Height and width of `512` or `800x1344`."""
    sides = text.split('x')
    if len(sides) > 2 or not all(side.isdecimal() and int(side) >= 32 for side in sides):
        raise ArgumentTypeError(f'{text!r} is neither a side nor HxW, in pixels from 32 up')
    return int(sides[0]), int(sides[-1])


def device(text: str) -> torch.device:
    """A CPU or an NVIDIA GPU."""
    try:
        found = torch.device(text)
    except RuntimeError:
        found = None
    if found is None or found.type not in ('cpu', 'cuda'):
        raise ArgumentTypeError(f'{text!r} is neither cpu nor a GPU (cuda, cuda:1, ...)')
    return found


def track(items: Iterable[Item], what: str) -> Iterable[Item]:
    """Go through `items` with a progress bar on stderr, which is drawn between them and so takes none of their time."""
    return rich.progress.track(items, what, auto_refresh=False, console=Console(stderr=True))


# ---- seconds


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
    """Time steps in rounds; in each round every step has its turn, in an order of its own.

    In its turn a step runs twice, and the second time counts: the first clears the caches of what ran before, and lets
    its threads, which spin for a while in some runtimes, come to rest.

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
        for number in track(range(warmup + rounds), 'timing in turns'):
            shuffle(order)
            for index in order:
                steps[index]()
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


# ---- what the machine can do at most

# (M, K, N): square ones, and the shape of a 1x1 convolution on a large map.
CPU_SHAPES = ((1024, 1024, 1024), (1536, 1536, 1536), (4096, 768, 768))
CUDA_SHAPES = ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 4096, 4096))


def matmul_peak(
    device: torch.device, dtype: torch.dtype, shapes: Sequence[tuple[int, int, int]] | None = None, repeats: int = 3
) -> float:
    """The best multiply-accumulates per second of several large matrix products.

    Args:
        device: Where to measure.
        dtype: Of the matrices.
        shapes: (M, K, N) of products (M, K) x (K, N). Default: several that fit the device.
        repeats: How often each product is timed; the fastest counts.
    """
    seconds, best = stopwatch(device), 0.0
    for m, k, n in shapes or (CUDA_SHAPES if device.type == 'cuda' else CPU_SHAPES):
        a, b = (torch.rand(shape, device=device).to(dtype) for shape in ((m, k), (k, n)))
        out = torch.empty(m, n, dtype=dtype, device=device)
        torch.mm(a, b, out=out)
        fastest = min(seconds(lambda a=a, b=b, out=out: torch.mm(a, b, out=out)) for _ in range(repeats))
        best = max(best, m * k * n / fastest)
    return best
