"""Fetch, unpack and verify a data set.

    python tools/prepare_data.py coco [ROOT]      COCO 2017: 20.4 GB to download, as much again unpacked
    python tools/prepare_data.py ade20k [ROOT]    ADE20K (SceneParse150): 1 GB to download, as much again unpacked

ROOT is the folder that COCO_ROOT or ADE_ROOT names (default: that variable, or else data/coco and
data/ade/ADEChallengeData2016 under the current directory). The command can be stopped at any time and goes on where it
stopped when it is run again; once everything is there it only verifies.
"""

import argparse
import os
import sys
from pathlib import Path

from mmiformer.datasets import DatasetError
from mmiformer.datasets.fetch import prepare
from mmiformer.datasets.sources import SOURCES
from mmiformer.download import DownloadError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('dataset', choices=SOURCES)
    parser.add_argument('root', nargs='?', metavar='ROOT', help='the folder of the data set')
    parser.add_argument('--base-url', metavar='URL', help='mirror to take the archives from, of the same structure')
    parser.add_argument('--val-only', action='store_true', help="leave out COCO's training images (19.3 GB)")
    parser.add_argument('--remove-archives', action='store_true', help='delete each archive once it is unpacked')
    args = parser.parse_args()

    source = SOURCES[args.dataset]
    root = Path(args.root or os.environ.get(source.variable) or source.default_root).expanduser()
    print(f'{source.title} in {root.absolute()}', flush=True)
    try:
        counts = prepare(
            source, root, base_url=args.base_url, val_only=args.val_only, remove_archives=args.remove_archives
        )
    except (DatasetError, DownloadError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        print('\nstopped; run the same command again to go on from here', file=sys.stderr)
        sys.exit(130)
    print('complete: ' + ', '.join(f'{count} {split} images' for split, count in counts.items()))
    used = os.environ.get(source.variable) or source.default_root
    if Path(used).expanduser().resolve() != root.resolve():
        print(f'The configs look in {used}; to have them look here: export {source.variable}={root.absolute()}')


if __name__ == '__main__':
    main()
