"""Draw what the network is fed: images of the data pipeline, augmented and padded, with their annotations.

python tools/browse_dataset.py configs/mask_rcnn/iformer_m_1x.py
python tools/browse_dataset.py configs/sem_fpn/iformer_m_40k.py --number 40 --out looks
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from itertools import islice
from pathlib import Path

import mmcv
from mmengine.config import Config
from rich.console import Console
from rich.progress import track

from mmiformer.checks import check_config
from mmiformer.engine.cli import add_cfg_options, add_data_root, command
from mmiformer.engine.config import import_toolbox, open_config
from mmiformer.errors import UserError
from mmiformer.inference.browsing import SPLITS, draw_batches
from mmiformer.inference.sources import check_folder


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of mmdet or mmseg')
    parser.add_argument(
        '--out', metavar='DIR', help='a new or empty folder (default: work_dirs/NAME_OF_CONFIG/browse_SPLIT)'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace what is in DIR under the same names')
    parser.add_argument('--number', type=int, default=20, metavar='N', help='of pictures (default: %(default)s)')
    parser.add_argument('--split', choices=SPLITS, default='train')
    parser.add_argument('--seed', type=int, default=0, help='of order and augmentations (default: %(default)s)')
    add_data_root(parser)
    add_cfg_options(parser, 'train_dataloader.dataset.pipeline.2.scale="(800,400)"')
    return parser.parse_args()


def prepare(args: Namespace) -> tuple[Config, Path]:
    """The config as the options change it, and the folder for the pictures."""
    if args.number < 1:
        raise UserError(f'--number {args.number} must be positive')
    if not 0 <= args.seed < 2**32:
        raise UserError(f'--seed {args.seed} is not from 0 to 2**32 - 1')
    cfg = open_config(args.config, args.data_root, args.cfg_options)
    out = check_folder(
        args.out or Path('work_dirs', Path(args.config).stem, f'browse_{args.split}'), overwrite=args.overwrite
    )
    loader = f'{args.split}_dataloader'
    if not cfg.get(loader):
        raise UserError(f'config {args.config} has no {loader}')
    import_toolbox(cfg)
    check_config(cfg, [loader])
    return cfg, out


@command('the pictures drawn so far stay where they are')
def main() -> None:
    args = parse_args()
    cfg, out = prepare(args)
    number = 0
    pictures = islice(draw_batches(cfg, args.split, args.seed), args.number)
    for name, picture in track(pictures, 'drawing', total=args.number, console=Console(stderr=True)):
        mmcv.imwrite(picture, str(out / f'{number:04d}_{name}.jpg'))
        number += 1
    print(f'{number} pictures are in {out}')


if __name__ == '__main__':
    main()
