"""Measure the training iterations of a whole detector or segmentor: what the backbone saves, what reading data costs.

python tools/benchmark_training.py configs/mask_rcnn/iformer_m_1x.py --threads 2 --rounds 5

Each batch is done with the backbone as it is and in its reference form (the network as the released code runs it), in
turns and from random weights; nothing is learned and nothing written. Batches are read in this process, not by workers.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from mmengine.config import Config

from mmiformer.benchmark.iteration import Iterations, time_iterations
from mmiformer.benchmark.timing import add_timing, ratio, settle, spread
from mmiformer.checks import check_config
from mmiformer.engine.cli import add_cfg_options, add_data_root, command
from mmiformer.engine.config import import_toolbox, open_config


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of mmdet or mmseg')
    add_data_root(parser)
    add_timing(parser, rounds=5, warmup=1)
    add_cfg_options(parser, 'train_dataloader.batch_size=1')
    return parser.parse_args()


def prepare(args: Namespace) -> Config:
    """The config as the options change it, its data checked."""
    settle(args)
    cfg = open_config(args.config, args.data_root, args.cfg_options)
    import_toolbox(cfg)
    check_config(cfg, ['train_dataloader'])
    return cfg


def report(measured: Iterations) -> str:
    """What was measured, as lines of medians and, in brackets, quartiles."""
    both = [read + step for read, step in zip(measured.read, measured.network, strict=True)]
    lines = {
        'reading a batch': (spread(measured.read), '.3f', ' s'),
        'training step, reference form': (spread(measured.reference), '.2f', ' s'),
        'training step': (spread(measured.network), '.2f', ' s'),
        'training step / with the reference form': (ratio(measured.network, measured.reference), '.2f', ''),
        'reading / reading and training step': (ratio(measured.read, both), '.1%', ''),
    }
    return '\n'.join(
        f'{name + ":":40} {found.median:{form}} ({found.low:{form}} to {found.high:{form}}){unit}'
        for name, (found, form, unit) in lines.items()
    )


@command('nothing was measured to the end')
def main() -> None:
    args = parse_args()
    cfg = prepare(args)
    measured = time_iterations(cfg, args.rounds, args.warmup, args.device)
    print(f'\n{args.rounds} batches of {cfg.train_dataloader.batch_size}, {args.device}, {args.threads} threads')
    print(report(measured))


if __name__ == '__main__':
    main()
