"""Draw the embedded mini data set: COCO's and ADE20K's layout, from the same scenes.

    python tools/make_shapes.py data/shapes --images 300 --size 128 --seed 0

One scene in five is held out. The same arguments give the same pixels and annotations everywhere. OUT appears when it
is complete; a second call with the same arguments does nothing.
"""

import argparse
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmiformer.datasets.shapes import make_dataset

COLUMNS = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', metavar='OUT', help='the folder to make')
    parser.add_argument('--images', type=int, default=300, metavar='N', help='how many (default: %(default)s)')
    parser.add_argument(
        '--size', type=int, default=128, metavar='S', help='longer side in pixels (default: %(default)s)'
    )
    parser.add_argument('--seed', type=int, default=0, metavar='K', help='which data set (default: %(default)s)')
    args = parser.parse_args()

    began = time.monotonic()
    try:
        with Progress(*COLUMNS, console=Console(stderr=True)) as progress:
            # visible from the first scene on: where the data set is there already, none is drawn
            task = progress.add_task('drawing', total=args.images, visible=False)
            made = make_dataset(
                args.out,
                args.images,
                args.size,
                args.seed,
                on_scene=lambda: progress.update(task, advance=1, visible=True),
            )
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        print(f'\nstopped; {args.out} was not made', file=sys.stderr)
        sys.exit(130)
    if made:
        print(f'{args.out}: {args.images} scenes made in {time.monotonic() - began:.1f} s')
    else:
        print(f'{args.out}: these {args.images} scenes are there already, nothing to do')


if __name__ == '__main__':
    main()
