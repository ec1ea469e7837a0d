"""Train a detector, segmentor or classifier: MMEngine's Runner on a config of mmdet, mmseg or mmpretrain.

python tools/train.py configs/mask_rcnn/iformer_m_1x.py
python tools/train.py configs/sem_fpn/iformer_m_40k.py --data-root /data/ADEChallengeData2016 --resume
"""

import logging
from argparse import Namespace
from contextlib import nullcontext

from mmengine.config import Config
from mmengine.dist import is_main_process

from mmiformer import checkpoint
from mmiformer.checks import check_config
from mmiformer.engine import recipe
from mmiformer.engine.cli import add_compile, command, exit_if_broken, make_parser, resume_advice
from mmiformer.engine.config import import_toolbox, open_config, require
from mmiformer.engine.notes import keep_notes
from mmiformer.engine.runner import WholeRunner
from mmiformer.engine.runs import find_checkpoint, read_checkpoint, set_work_dir, settle_run
from mmiformer.evaluation.metrics import check_followed
from mmiformer.files import alone_in

logger = logging.getLogger('mmiformer.train')


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


def change_recipe(cfg: Config, args: Namespace) -> None:
    """Change a config as the options say, in place."""
    if args.no_pretrained:
        recipe.start_from_random(cfg)
    if args.amp:
        recipe.use_amp(cfg)
    if args.auto_scale_lr:
        recipe.scale_lr(cfg)
    if args.tensorboard:
        recipe.use_tensorboard(cfg)
    recipe.draw_validation(cfg, args.vis)
    if args.trust_checkpoint:
        recipe.trust_pretrained(cfg)


def prepare(args: Namespace) -> tuple[Config, dict | None]:
    """The config as the options change it, and the checkpoint to resume; nothing is written yet."""
    cfg = open_config(args.config, args.data_root, args.cfg_options)
    require(cfg, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    check_followed(cfg)
    change_recipe(cfg, args)
    work_dir = set_work_dir(cfg, args.work_dir)
    asked = args.resume or cfg.get('resume') and (cfg.get('load_from') or 'auto')  # the config's is MMEngine's way
    resumed, source = None, find_checkpoint(asked or None, work_dir)
    cfg.resume = bool(source)
    if source:
        resumed = read_checkpoint(source, args.trust_checkpoint)
        recipe.check_resumed(cfg, resumed)
        cfg.load_from = str(source)
    elif asked:
        logger.warning(f'--resume: {work_dir} has no checkpoint yet, so this run starts from the beginning.')

    import_toolbox(cfg)
    checkpoint.use_in_mmengine(args.trust_checkpoint)
    settle_run(cfg, args.launcher, args.local_rank, args.seed, resumed)
    check_config(cfg, ['train_dataloader', 'val_dataloader'], resumed, training=True)
    for pretrained in recipe.pretrained_files(cfg, bool(resumed)):
        checkpoint.locate(pretrained)  # before the data is read
    return cfg, resumed


@command(resume_advice)
def main() -> None:
    args = parse_args()
    keep_notes()
    cfg, resumed = prepare(args)
    with alone_in(cfg.work_dir) if is_main_process() else nullcontext():  # one process for all of them
        runner = WholeRunner(cfg, resumed, compile=args.compile)
        runner.train()
    exit_if_broken(runner.number_of_broken, args.launcher)


if __name__ == '__main__':
    main()
