"""Fetch, unpack and verify a data set.

    python tools/prepare_data.py coco [ROOT]      COCO 2017: 20.4 GB to download, as much again unpacked
    python tools/prepare_data.py ade20k [ROOT]    ADE20K (SceneParse150): 1 GB to download, as much again unpacked

ROOT is the folder that COCO_ROOT or ADE_ROOT names (default: that variable, or else data/coco and
data/ade/ADEChallengeData2016 under the current directory). The command can be stopped at any time and goes on where it
stopped when it is run again; once everything is there it only verifies.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from os import environ
from pathlib import Path

from mmiformer.datasets.fetch import prepare
from mmiformer.datasets.sources import SOURCES
from mmiformer.engine.cli import command


@command('run the same command again to go on from here')
def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('dataset', choices=SOURCES)
    parser.add_argument('root', nargs='?', metavar='ROOT', help='the folder of the data set')
    parser.add_argument('--base-url', metavar='URL', help='mirror to take the archives from, of the same structure')
    parser.add_argument('--val-only', action='store_true', help="leave out COCO's training images (19.3 GB)")
    parser.add_argument('--remove-archives', action='store_true', help='delete each archive once it is unpacked')
    args = parser.parse_args()

    source = SOURCES[args.dataset]
    used = environ.get(source.variable) or source.default_root
    root = Path(args.root or used).expanduser()
    print(f'{source.title} in {root.absolute()}', flush=True)
    counts = prepare(source, root, base_url=args.base_url, val_only=args.val_only, remove_archives=args.remove_archives)
    print('complete: ' + ', '.join(f'{count} {split} images' for split, count in counts.items()))
    if Path(used).expanduser().resolve() != root.resolve():
        print(f'The configs look in {used}; to have them look here: export {source.variable}={root.absolute()}')


if __name__ == '__main__':
    main()
