"""From nothing to two trained networks, in minutes, on a CPU and without any data.

python tools/demo.py            in work_dirs/demo; after an interruption it goes on where it stopped
python tools/demo.py --fresh    start over
python tools/demo.py --quick    one or two training steps, to see that everything runs; nothing is learned

It draws a data set, trains Mask R-CNN and Semantic FPN with iFormer-T on it from random weights, evaluates both on
held-out scenes, predicts some of them, and writes report.html and report.png. Ctrl-C can stop it at any time.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from mmiformer.demo.report import format_results
from mmiformer.demo.run import Demo, claim
from mmiformer.engine.cli import command


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo'), metavar='DIR', help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of the scenes and both trainings (default: %(default)s)')
    parser.add_argument('--images', type=int, metavar='N', help='scenes to draw (default: 300; with --quick 10)')
    parser.add_argument('--fresh', action='store_true', help='remove what an earlier demo left in DIR, and start over')
    parser.add_argument('--quick', action='store_true', help='one or two training steps; nothing is learned')
    args = parser.parse_args()
    if args.images is None:
        args.images = 10 if args.quick else 300
    if args.images < 2:
        parser.error(f'--images {args.images}: the least is 2, one to train on and one held out')
    if not 0 <= args.seed < 2**32:
        parser.error(f'--seed {args.seed} is not from 0 to 2**32 - 1')
    return args


@command('run the same command again to go on from here')
def main() -> None:
    args = parse_args()
    out = args.out.expanduser()
    settings = dict(seed=args.seed, images=args.images, quick=args.quick)
    claim(out, settings, args.fresh)
    demo = Demo(out, Path(__file__).parent, settings)
    if not demo.run():
        print(f'The demo in {out} is done. To start over, use --fresh (make demo FRESH=1).')
    print(f'\n{format_results(demo.results(), demo.steps.seconds)}\n')
    for path in (demo.report, demo.picture):
        print(f'look at {path.absolute()}')


if __name__ == '__main__':
    main()
