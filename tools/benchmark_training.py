"""Measure the training iterations of a whole detector, segmentor or classifier: time, memory, what reading data costs.

python tools/benchmark_training.py configs/mask_rcnn/iformer_m_1x.py --threads 2 --rounds 5

All is done from random weights, a teacher's too; nothing is learned and nothing written. Batches are read in this
process, not by workers. An iFormer with frozen batch norms does each batch in its reference form too (the network as
the released code runs it), in turns.
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
    parser.add_argument('config', help='config file of mmdet, mmseg or mmpretrain')
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


def report(measured: Iterations, images: int) -> str:
    """What was measured with batches of so many images, as lines of medians and, in brackets, quartiles."""
    both = [read + step for read, step in zip(measured.read, measured.network, strict=True)]
    lines = {
        'reading a batch': (spread(measured.read), '.3f', ' s'),
        'training step': (spread(measured.network), '.2f', ' s'),
        'images read in a second': (spread([images / seconds for seconds in measured.read]), '.1f', ''),
        'images trained on in a second': (spread([images / seconds for seconds in measured.network]), '.1f', ''),
        'reading / reading and training step': (ratio(measured.read, both), '.1%', ''),
    }
    if measured.reference:
        lines['training step, reference form'] = (spread(measured.reference), '.2f', ' s')
        found = ratio(measured.network, measured.reference)
        lines['training step / with the reference form'] = (found, '.2f', '')
    shown = [
        f'{name + ":":40} {found.median:{form}} ({found.low:{form}} to {found.high:{form}}){unit}'
        for name, (found, form, unit) in lines.items()
    ]
    if measured.memory is not None:
        shown.append(
            f'{"memory of a training step:":40} {measured.memory / 2**20:.0f} MiB, weights and optimizer aside'
        )
    return '\n'.join(shown)


@command('nothing was measured to the end')
def main() -> None:
    args = parse_args()
    cfg = prepare(args)
    measured = time_iterations(cfg, args.rounds, args.warmup, args.device)
    images = cfg.train_dataloader.batch_size
    print(f'\n{args.rounds} batches of {images}, {args.device}, {args.threads} threads')
    print(report(measured, images))


if __name__ == '__main__':
    main()
