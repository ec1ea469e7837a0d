"""Measure backbones side by side, in one run and in turns: time, memory, share of what the machine can do.

python tools/benchmark.py m:reference m m:deploy repvit_m1_1 --threads 2 --rounds 12
python tools/benchmark.py m repvit_m1_1 --forms reference deploy folded openvino openvino-int8 --threads 2
python tools/benchmark.py m:reference m --what train --memory
python tools/benchmark.py m m:global l l2 --sizes 512 256 768 1024 --memory --out work_dirs/growth
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

import torch

from mmiformer.benchmark.forms import FORMS, Contestant, combine, parse, require
from mmiformer.benchmark.peers import PEERS
from mmiformer.benchmark.report import draw, facts, page, write_json
from mmiformer.benchmark.run import Workload, measure
from mmiformer.benchmark.timing import add_sizes, add_timing, positive, settle
from mmiformer.engine.cli import command
from mmiformer.errors import UserError
from mmiformer.files import expect_file, whole_file
from mmiformer.models import ARCHS

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
    parser.add_argument(
        '--forms',
        nargs='+',
        choices=FORMS,
        default=[],
        metavar='FORM',
        help='each network in those of them that it has',
    )
    parser.add_argument('--what', choices=DEFAULT, default='infer', help='a forward pass, or forward and backward')
    add_sizes(parser)
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


def choose(args: Namespace) -> tuple[list[Contestant], Contestant]:
    """The contestants that the arguments name, and the baseline among them.

    Raises:
        UserError: A name is not one that there is, or what it needs is not installed.
    """
    train = args.what == 'train'
    names = combine(list(dict.fromkeys(args.names or (['m'] if args.forms else DEFAULT[args.what]))), args.forms, train)
    contestants = [parse(name, train) for name in names]
    baseline = names[0] if args.baseline is None else args.baseline
    if baseline not in names:
        raise UserError(f'--baseline {baseline} is none of what is measured: {", ".join(names)}')
    require(contestants, args.device)
    return contestants, contestants[names.index(baseline)]


@command('nothing was measured to the end; --rounds and --sizes make it shorter')
def main() -> None:
    args = parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    settle(args)
    contestants, baseline = choose(args)
    if args.out:
        expect_file(args.out / 'table.md')
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
