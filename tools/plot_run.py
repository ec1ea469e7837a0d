"""Draw the loss and the AP or mIoU of trainings over each other.

python tools/plot_run.py work_dirs/iformer_m_1x work_dirs/iformer_l_1x --out curves.png
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from mmiformer.engine.cli import command
from mmiformer.evaluation.curves import draw_runs, read_curves
from mmiformer.report import save_figure


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help='of a training, finished or not')
    parser.add_argument('--out', type=Path, default=Path('curves.png'), metavar='PNG', help='default: %(default)s')
    args = parser.parse_args()
    if args.out.suffix != '.png':
        parser.error(f'--out {args.out}: the picture is a PNG, so give a name that ends in .png')
    return args


@command('nothing was drawn')
def main() -> None:
    args = parse_args()
    save_figure(draw_runs({str(work_dir): read_curves(work_dir) for work_dir in args.work_dirs}), args.out)
    print(f'written to {args.out}')


if __name__ == '__main__':
    main()
