"""Evaluate a checkpoint: MMEngine's Runner on a config of mmdet, mmseg or mmpretrain, ending with one table.

python tools/test.py configs/mask_rcnn/iformer_m_1x.py iFormer_m_epoch_12.pth --out result.json
python tools/test.py configs/sem_fpn/iformer_m_40k.py work_dirs/iformer_m_40k/iter_40000.pth --per-class
python tools/test.py configs/imagenet/iformer_m_distill_300e.py iFormer_m_distill.pth
"""

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from torch import nn

from mmiformer import checkpoint
from mmiformer.checks import check_config
from mmiformer.engine.cli import add_compile, add_deploy, command, deploy_dtype, exit_if_broken, make_parser
from mmiformer.engine.config import evaluators, import_toolbox, kind, open_config, require
from mmiformer.engine.launch import join_processes
from mmiformer.engine.notes import keep_notes
from mmiformer.engine.runner import WholeRunner
from mmiformer.engine.runs import read_checkpoint, set_work_dir
from mmiformer.errors import UserError
from mmiformer.evaluation.metrics import COCO_METRICS, TEST, dump_labels, dump_results, figures_by_class, keep_classes
from mmiformer.evaluation.tables import format_classes, format_table, nothing_detected, summarize, write_json
from mmiformer.export import RUNNABLE, find_runtime
from mmiformer.export.replace import replace
from mmiformer.files import expect_file


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        'checkpoint', help='a file, a URL, or the name of a published one such as iFormer_m_epoch_12.pth'
    )
    parser.add_argument('--out', metavar='FILE', type=Path, help='write the figures as JSON')
    parser.add_argument(
        '--dump', metavar='DIR', help="write the results: detections in COCO's format, segmentations as label PNGs"
    )
    parser.add_argument('--per-class', action='store_true', help='segmentation: also the figures by class')
    add_deploy(parser)
    add_compile(parser)
    parser.add_argument(
        '--runtime',
        choices=RUNNABLE,
        help="let this runtime compute a detector's backbone, or a whole segmentor, as tools/export.py writes it",
    )
    parser.add_argument('--precision', choices=('fp32', 'fp16', 'bf16', 'int8'), help="the runtime's (default: fp32)")
    parser.add_argument('--calibrate', metavar='DIR', type=Path, help='a folder of images, for int8')
    return parser.parse_args()


def other_runtime(args: Namespace) -> Callable[[nn.Module], None] | None:
    """What puts the runtime's network in the place of torch's.

    Raises:
        UserError: Options do not go together, or a package is missing.
    """
    if not args.runtime:
        if args.precision or args.calibrate:
            raise UserError('--precision and --calibrate are for --runtime')
        return None
    if args.deploy or args.compile:
        raise UserError("--deploy and --compile are forms of torch's; leave them out with --runtime")
    runtime = find_runtime(args.runtime)
    precision = runtime.require('backbone', args.precision)
    if precision == 'int8' and not args.calibrate:
        raise UserError('--precision int8 takes the ranges of its values from images: add --calibrate DIR')
    return partial(replace, runtime=runtime, precision=precision, images=args.calibrate)


def prepare(args: Namespace) -> tuple[Config, dict]:
    """The config as the options change it, and the checkpoint."""
    cfg = open_config(args.config, args.data_root, args.cfg_options)
    require(cfg, 'model', 'test_dataloader', 'test_evaluator', 'test_cfg')
    set_work_dir(cfg, args.work_dir, 'test')  # beside a training run of the same config, not over its records
    if args.out:
        args.out = args.out.expanduser()
        if args.out.suffix != '.json':
            raise UserError(f'--out {args.out}: the figures are written as JSON, so give a name that ends in .json')
        expect_file(args.out)
    tested = read_checkpoint(args.checkpoint, args.trust_checkpoint, bare=cfg.default_scope == 'mmpretrain')
    cfg.load_from, cfg.resume = str(args.checkpoint), False
    import_toolbox(cfg)
    if args.per_class:
        keep_classes(cfg)
    if args.dump:
        dump_results(cfg, args.dump)
    checkpoint.use_in_mmengine(args.trust_checkpoint)
    join_processes(cfg, args.launcher, args.local_rank)
    check_config(cfg, ['test_dataloader'], tested)
    return cfg, tested


def report(args: Namespace, cfg: Config, runner: WholeRunner, metrics: dict) -> None:
    """Print the table, and write it where asked."""
    for metric in evaluators(cfg, TEST):
        if kind(metric) in COCO_METRICS and (zeros := nothing_detected(metric, metrics)):
            runner.logger.warning('There is no detection in any image, so every AP or AR is 0.')
            metrics = {**metrics, **zeros}
    summary = summarize(metrics)
    content = dict(config=args.config, checkpoint=str(args.checkpoint), images=len(runner.test_dataloader.dataset))
    content['figures'] = summary
    print(f'\n{args.checkpoint} on {content["images"]} images')
    if args.per_class:
        content['classes'] = figures_by_class(runner)
        print(format_classes(content['classes']) + '\n')
    print(format_table(summary))
    if args.out:
        write_json(args.out, content)
        print(f'written to {args.out}')
    if args.dump:
        print(f'results are in {args.dump}')


@command('nothing was measured')
def main() -> None:
    args = parse_args()
    keep_notes()
    dtype = deploy_dtype(args)
    replaced = other_runtime(args)
    cfg, tested = prepare(args)
    runner = WholeRunner(cfg, tested, args.deploy, dtype, args.compile, replaced)
    if args.dump:
        dump_labels(runner, args.dump)
    metrics = runner.test()
    if is_main_process():
        report(args, cfg, runner, metrics)
    exit_if_broken(runner.number_of_broken, args.launcher)


if __name__ == '__main__':
    main()
