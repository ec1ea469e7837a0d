"""Train a detector or segmentor: MMEngine's Runner on a config of mmdet or mmseg.

python tools/train.py configs/mask_rcnn/iformer_m_1x.py
python tools/train.py configs/sem_fpn/iformer_m_40k.py --data-root /data/ADEChallengeData2016 --resume
"""

from argparse import Namespace

from mmengine.config import Config

from mmiformer import checkpoint
from mmiformer.datasets import check_dataset
from mmiformer.engine.cli import USER_ERRORS, interrupted, make_parser, plain_errors
from mmiformer.engine.config import fit_workers, import_toolbox, merge_options, read_config, set_data_root
from mmiformer.engine.hooks import ValidationPictures, use_tensorboard
from mmiformer.engine.launch import join_processes
from mmiformer.engine.recipe import check_batch, check_resumed, pretrained_file, scale_lr, start_from_random, use_amp
from mmiformer.engine.runner import CheckpointMismatch, WholeRunner
from mmiformer.engine.runs import find_checkpoint, read_checkpoint, set_work_dir, settle_seed
from mmiformer.engine.speed import NoFastForm, add_compile, speed_up


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without one, from the last of the work directory if there is any',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision (needs a GPU)')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch')
    parser.add_argument(
        '--no-pretrained', action='store_true', help='random weights in the backbone, whose batch norms then train'
    )
    add_compile(parser)
    parser.add_argument('--seed', type=int, help="default: the config's, or that of the resumed run, or a random one")
    parser.add_argument('--tensorboard', action='store_true', help='also log to TensorBoard')
    parser.add_argument('--vis', type=int, default=0, metavar='N', help='draw N validation images at each evaluation')
    return parser.parse_args()


def prepare(args: Namespace) -> tuple[Config, dict | None, list[str]]:
    """The config as the options change it, the checkpoint to resume, and what the log should say."""
    cfg = read_config(args.config)
    if args.data_root:
        set_data_root(cfg, args.data_root)
    notes = merge_options(cfg, args.cfg_options)
    fit_workers(cfg)
    if args.no_pretrained:
        notes.append(start_from_random(cfg))
    if args.amp:
        use_amp(cfg)
    if args.auto_scale_lr:
        scale_lr(cfg)
    if args.tensorboard:
        use_tensorboard(cfg)
    if args.vis < 0:
        raise ValueError(f'--vis {args.vis} must not be negative')

    work_dir = set_work_dir(cfg, args.work_dir)
    resumed, source = None, find_checkpoint(args.resume, work_dir)
    if source:
        resumed = read_checkpoint(source, args.trust_checkpoint)
        check_resumed(cfg, resumed)
        cfg.load_from, cfg.resume = str(source), True
    elif args.resume:
        notes.append(f'--resume: {work_dir} has no checkpoint yet, so this run starts from the beginning.')

    import_toolbox(cfg)
    for loader in ('train_dataloader', 'val_dataloader'):
        if cfg.get(loader):
            check_dataset(cfg[loader].dataset)
    checkpoint.use_in_mmengine(args.trust_checkpoint)
    notes += join_processes(cfg, args.launcher, args.local_rank)
    settle_seed(cfg, args.seed, resumed)
    if not resumed and (pretrained := pretrained_file(cfg)):
        checkpoint.locate(pretrained)  # before the data is read
    notes.append(check_batch(cfg))
    return cfg, resumed, [note for note in notes if note]


def train(args: Namespace) -> None:
    """Prepare and run."""
    with plain_errors(*USER_ERRORS):
        cfg, resumed, notes = prepare(args)
    runner = WholeRunner.from_cfg(cfg)
    runner.whole = resumed
    with plain_errors(NoFastForm):
        speed_up(runner.model, compile=args.compile)
    if args.vis:
        runner.register_hook(ValidationPictures(args.vis))
    for note in notes:
        runner.logger.warning(note)
    with plain_errors(CheckpointMismatch):
        runner.train()


def main() -> None:
    args = parse_args()
    try:
        train(args)
    except KeyboardInterrupt:
        interrupted('the same command with --resume goes on from the last checkpoint, if there is one')


if __name__ == '__main__':
    main()
