"""Read every image and annotation of a config once, and list what is wrong with them.

python tools/check_data.py configs/mask_rcnn/iformer_m_1x.py
python tools/check_data.py configs/sem_fpn/iformer_m_40k.py --data-root /data/ADEChallengeData2016 --out checked

The list goes to the terminal and to check_data.json, there with all the files that a line is about. The exit code is 3
if something is wrong, and 0 if things are merely left out.
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from dataclasses import asdict
from pathlib import Path

from mmiformer.checks.data import check_data
from mmiformer.checks.findings import errors, table
from mmiformer.checks.reading import Everything
from mmiformer.engine.cli import add_cfg_options, add_data_root, command
from mmiformer.engine.config import import_toolbox, open_config
from mmiformer.errors import DONE_BUT_BROKEN, UserError
from mmiformer.evaluation.tables import write_json
from mmiformer.files import expect_file


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of mmdet or mmseg')
    parser.add_argument(
        '--out', metavar='DIR', type=Path, help='folder of check_data.json (default: work_dirs/NAME_OF_CONFIG)'
    )
    parser.add_argument('--workers', type=int, metavar='N', help='processes that read (default: one for each core)')
    add_data_root(parser)
    add_cfg_options(parser, 'train_dataloader.dataset.ann_file=train.json')
    return parser.parse_args()


@command('nothing was written')
def main() -> None:
    args = parse_args()
    if args.workers is not None and not 1 <= args.workers <= 1000:
        raise UserError(f'--workers {args.workers}: give a number from 1 to 1000')
    out = (args.out or Path('work_dirs', Path(args.config).stem)).expanduser()
    if out.exists() and not out.is_dir():
        raise UserError(f'--out {out} is a file; give a folder')
    cfg = open_config(args.config, args.data_root, args.cfg_options)
    import_toolbox(cfg)
    expect_file(out / 'check_data.json')

    reader = Everything(args.workers)
    findings = list(check_data(cfg, reader=reader))
    print('\n'.join(f'{where}: {number} images read' for where, number in reader.read.items()))
    print(table(findings) or 'nothing to tell')
    content = dict(config=args.config, images=reader.read, findings=[asdict(finding) for finding in findings])
    write_json(out / 'check_data.json', content)
    print(f'written to {out / "check_data.json"}')
    if wrong := errors(findings):
        print(f'{len(wrong)} errors')
        sys.exit(DONE_BUT_BROKEN)


if __name__ == '__main__':
    main()
