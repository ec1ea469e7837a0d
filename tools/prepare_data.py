"""Fetch, unpack and verify a data set.

    python tools/prepare_data.py coco [ROOT]      COCO 2017: 20.4 GB to download, as much again unpacked
    python tools/prepare_data.py ade20k [ROOT]    ADE20K (SceneParse150): 1 GB to download, as much again unpacked
    python tools/prepare_data.py imagenet [ROOT]  ImageNet-1K: unpacks and checks the archives that lie in ROOT, 155 GB,
                                                  which cannot be downloaded without an account

ROOT is the folder that COCO_ROOT, ADE_ROOT or IMAGENET_ROOT names (default: that variable, or else data/coco,
data/ade/ADEChallengeData2016 and data/imagenet under the current directory). The command can be stopped at any time and
goes on where it stopped when it is run again; once everything is there it only verifies.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from os import environ
from pathlib import Path

from mmiformer.datasets.fetch import prepare
from mmiformer.datasets.imagenet_archives import prepare_imagenet
from mmiformer.datasets.sources import IMAGENET, SOURCES
from mmiformer.engine.cli import command


@command('run the same command again to go on from here')
def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('dataset', choices=(*SOURCES, IMAGENET.key))
    parser.add_argument('root', nargs='?', metavar='ROOT', help='the folder of the data set')
    parser.add_argument('--base-url', metavar='URL', help='mirror to take the archives from, of the same structure')
    parser.add_argument('--val-only', action='store_true', help='leave out the training images of COCO or ImageNet')
    parser.add_argument('--remove-archives', action='store_true', help='delete each archive once it is unpacked')
    args = parser.parse_args()

    source = SOURCES.get(args.dataset, IMAGENET)
    used = environ.get(source.variable) or source.default_root
    root = Path(args.root or used).expanduser()
    print(f'{source.title} in {root.absolute()}', flush=True)
    options = dict(val_only=args.val_only, remove_archives=args.remove_archives)
    if source is IMAGENET:
        counts = prepare_imagenet(source, root, **options)
    else:
        counts = prepare(source, root, base_url=args.base_url, **options)
    print('complete: ' + ', '.join(f'{count} {split} images' for split, count in counts.items()))
    if Path(used).expanduser().resolve() != root.resolve():
        print(f'The configs look in {used}; to have them look here: export {source.variable}={root.absolute()}')


if __name__ == '__main__':
    main()
