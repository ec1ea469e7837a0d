"""What the benchmarks' command lines have in common."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace

import torch


def add_timing(parser: ArgumentParser, rounds: int, warmup: int) -> None:
    """Add `--threads`, `--device`, `--rounds` and `--warmup`, the last two with these defaults."""
    parser.add_argument('--threads', type=positive, default=torch.get_num_threads(), help='default: %(default)s')
    parser.add_argument('--device', type=device, default='cpu', help='cpu (default), cuda, cuda:1, ...')
    parser.add_argument('--rounds', type=positive, default=rounds, help='that are timed (default: %(default)s)')
    parser.add_argument('--warmup', type=positive, default=warmup, help='before, untimed (default: %(default)s)')


def settle(args: Namespace) -> None:
    """Use these threads and this device.

    Raises:
        ValueError: The GPU is not there.
    """
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    if args.device.type == 'cuda':
        if (args.device.index or 0) >= (number := torch.cuda.device_count()):
            raise ValueError(f'--device {args.device} is none of the {number} GPUs that torch can use here')
        torch.cuda.set_device(args.device)


def positive(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f'{text!r} is no whole number from 1 up')
    return int(text)


def device(text: str) -> torch.device:
    """A CPU or an NVIDIA GPU."""
    try:
        found = torch.device(text)
    except RuntimeError:
        found = None
    if found is None or found.type not in ('cpu', 'cuda'):
        raise ArgumentTypeError(f'{text!r} is neither cpu nor a GPU (cuda, cuda:1, ...)')
    return found
