"""Measure backbones side by side, in one run and in turns: time, memory, share of what the machine can do.

python tools/benchmark.py m:reference m m:deploy repvit_m1_1 --threads 2 --rounds 12
python tools/benchmark.py m:reference m --what train --memory
python tools/benchmark.py m m:global l l2 --sizes 512 256 768 1024 --memory --out work_dirs/growth
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

import torch

from mmiformer.benchmark.forms import FORMS, Contestant, parse
from mmiformer.benchmark.peers import PEERS
from mmiformer.benchmark.report import draw, facts, page, write_json
from mmiformer.benchmark.run import Workload, measure
from mmiformer.benchmark.timing import add_timing, positive, settle
from mmiformer.engine.cli import command
from mmiformer.errors import UserError
from mmiformer.files import whole_file
from mmiformer.models import ARCHS
from mmiformer.models.timm_backbone import import_timm

DEFAULT = dict(infer=['m:reference', 'm', 'm:deploy'], train=['m:reference', 'm'])


def parse_args() -> Namespace:
    forms = '\n'.join(f'  {name:20} {form.meaning} ({", ".join(form.networks)})' for name, form in FORMS.items())
    parser = ArgumentParser(
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
        epilog=f'networks:\n  {" ".join(ARCHS)}\n  of timm: {" ".join(PEERS)}\n    (inference: reparameterized)\n'
        f'forms, as in m:deploy:\n{forms}',
    )
    parser.add_argument('names', nargs='*', metavar='NETWORK[:FORM]', help='default: m:reference m, and m:deploy')
    parser.add_argument('--what', choices=DEFAULT, default='infer', help='a forward pass, or forward and backward')
    parser.add_argument(
        '--sizes', nargs='+', type=size, default=[(512, 512)], metavar='SIZE', help='such as 512 or 800x1344 (H x W)'
    )
    parser.add_argument('--batch', nargs='+', type=positive, default=[1], metavar='IMAGES', help='default: 1')
    add_timing(parser, rounds=20, warmup=3)
    parser.add_argument(
        '--dtype', choices=('float32', 'bfloat16', 'float16'), default='float32', help='where no form names one'
    )
    parser.add_argument('--tf32', action='store_true', help='let float32 products on a GPU round to TF32')
    parser.add_argument('--baseline', metavar='NAME', help='what the ratios are to (default: the first)')
    parser.add_argument('--memory', action='store_true', help='measure memory as well')
    parser.add_argument('--out', type=Path, metavar='DIR', help='write table.md, results.json and picture.png there')
    return parser.parse_args()


def size(text: str) -> tuple[int, int]:
    """Height and width of `512` or `800x1344`."""
    sides = text.split('x')
    if len(sides) > 2 or not all(side.isdecimal() and int(side) >= 32 for side in sides):
        raise ArgumentTypeError(f'{text!r} is neither a side nor HxW, in pixels from 32 up')
    return int(sides[0]), int(sides[-1])


def choose(args: Namespace) -> tuple[list[Contestant], Contestant]:
    """The contestants that the arguments name, and the baseline among them.

    Raises:
        UserError: A name is not one that there is, or timm is needed and cannot be imported.
    """
    names = list(dict.fromkeys(args.names or DEFAULT[args.what]))
    contestants = [parse(name, args.what == 'train') for name in names]
    baseline = names[0] if args.baseline is None else args.baseline
    if baseline not in names:
        raise UserError(f'--baseline {baseline} is none of what is measured: {", ".join(names)}')
    if not all(contestant.is_ours for contestant in contestants):
        try:
            import_timm()
        except ImportError as error:
            raise UserError(str(error)) from error
    return contestants, contestants[names.index(baseline)]


@command('nothing was measured to the end; --rounds and --sizes make it shorter')
def main() -> None:
    args = parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    settle(args)
    contestants, baseline = choose(args)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)  # before minutes of measuring, in case it cannot be made
    kind = dict(train=args.what == 'train', device=args.device, dtype=getattr(torch, args.dtype))
    shapes = dict.fromkeys((*size, batch) for size in args.sizes for batch in args.batch)
    workloads = [Workload(*shape, **kind) for shape in shapes]
    rows, peaks = measure(contestants, workloads, baseline, args.rounds, args.warmup, args.memory)
    known = facts(args.device, what=args.what, rounds=args.rounds, warmup=args.warmup, baseline=baseline.name)
    text = page(rows, peaks, known)
    print(f'\n{text}', end='')
    if args.out:
        with whole_file(args.out / 'table.md') as part:
            part.write_text(text)
        write_json(rows, peaks, known, args.out / 'results.json')
        if not draw(rows, args.out / 'picture.png'):
            print('no picture: fewer than two of these networks have published results')


if __name__ == '__main__':
    main()
