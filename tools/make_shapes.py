"""Draw the embedded mini data set: COCO's, ADE20K's and ImageNet's layout, from the same scenes.

    python tools/make_shapes.py data/shapes --images 300 --size 128 --seed 0

One scene in five is held out. The same arguments give the same pixels and annotations everywhere. OUT appears when it
is complete; a second call with the same arguments does nothing.
"""

import argparse
import signal
import time

from mmiformer.datasets.shapes import make_dataset
from mmiformer.engine.cli import command


@command('the data set was not made')
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', metavar='OUT', help='the folder to make')
    parser.add_argument('--images', type=int, default=300, metavar='N', help='how many (default: %(default)s)')
    parser.add_argument(
        '--size', type=int, default=128, metavar='S', help='longer side in pixels (default: %(default)s)'
    )
    parser.add_argument('--seed', type=int, default=0, metavar='K', help='which data set (default: %(default)s)')
    args = parser.parse_args()

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does, without leftovers
    began = time.monotonic()
    if make_dataset(args.out, args.images, args.size, args.seed, progress=True):
        print(f'{args.out}: {args.images} scenes made in {time.monotonic() - began:.1f} s')
    else:
        print(f'{args.out}: these {args.images} scenes exist already, nothing to do')


if __name__ == '__main__':
    main()
