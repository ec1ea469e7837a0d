"""Predict images and videos: pictures with the predictions drawn in, and the predictions in one JSON file.

python tools/predict.py configs/mask_rcnn/iformer_m_1x.py iFormer_m_epoch_12.pth photos/ 'more/*.jpg' --out found
python tools/predict.py configs/sem_fpn/iformer_m_40k.py work_dirs/iformer_m_40k/iter_40000.pth clip.mp4 --out found

Exit status: 0 everything was predicted; 1 an argument is wrong, or the results cannot be written; 2 an option is
misspelled; 3 some inputs were broken and skipped; 130 stopped with Ctrl-C.
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from mmengine.config import Config
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmiformer.checks import check_config
from mmiformer.engine.cli import add_cfg_options, add_deploy, add_trust, command, deploy_dtype
from mmiformer.engine.config import import_toolbox, open_config
from mmiformer.engine.runs import read_checkpoint
from mmiformer.errors import DONE_BUT_BROKEN, UserError
from mmiformer.inference.predictor import Predictor
from mmiformer.inference.results import PARTS, Results
from mmiformer.inference.sources import BrokenSource, Source, Video, check_folder, find_sources


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of mmdet or mmseg; its data need not be on this machine')
    parser.add_argument(
        'checkpoint', help='a file, a URL, or the name of a published one such as iFormer_m_epoch_12.pth'
    )
    parser.add_argument(
        'inputs', nargs='+', metavar='INPUT', help='images, videos, folders (with everything in them) or glob patterns'
    )
    parser.add_argument('--out', metavar='DIR', required=True, help='where results go: a new or empty folder')
    parser.add_argument('--overwrite', action='store_true', help='replace what is in DIR under the same names')
    # Apple's mps, MMEngine's choice where it is there, lacks operators of mmcv.
    default = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', default=default, help='such as cpu or cuda:1 (default here: %(default)s)')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='SCORE',
        help='draw detections above this score (default: %(default)s); the file holds all that the model returns',
    )
    add_deploy(parser)
    add_cfg_options(parser, 'model.test_cfg.rcnn.score_thr=0.1')
    add_trust(parser)
    return parser.parse_args()


def prepare(args: Namespace) -> tuple[list[Source], Config, dict]:
    """What to predict, the config as the options change it, and the checkpoint."""
    if not 0 <= args.score_thr <= 1:
        raise UserError(f'--score-thr {args.score_thr} must lie between 0 and 1')
    cfg = open_config(args.config, options=args.cfg_options)
    args.out = out = check_folder(args.out, args.overwrite)
    sources = find_sources(args.inputs, leave_out=out)
    results = {(out / part).resolve() for part in PARTS}
    for source in sources:
        if results & set(source.path.resolve().parents):
            raise UserError(f'{source.path} lies among the results in --out {out}, which could replace it')
    checkpoint = read_checkpoint(args.checkpoint, args.trust_checkpoint)
    import_toolbox(cfg)
    check_config(cfg, [], checkpoint)
    return sources, cfg, checkpoint


def frames(predictor: Predictor, source: Source) -> Iterator[tuple[np.ndarray, list[str], dict]]:
    """The image or the frames of a source, what is not read of it, and what `Results.add` is told of the frames."""
    if not source.is_video:
        yield *predictor.reader.read(source.path), {}
        return
    video = Video(source.path)
    for number, image in enumerate(video):
        yield predictor.reader.frame(image), [], dict(frame=number, fps=video.fps, of=video.length)


def predict(predictor: Predictor, sources: list[Source], results: Results, score_thr: float) -> list[Source]:
    """Predict all sources with a progress bar; returns those that were skipped, which are named."""
    skipped = []
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        say = partial(progress.console.print, markup=False, highlight=False, soft_wrap=True)
        total = progress.add_task('predicting', total=len(sources))
        for source in sources:
            frame_task = None
            try:
                for image, notes, frame in frames(predictor, source):
                    if (length := frame.pop('of', None)) is not None and frame_task is None:
                        frame_task = progress.add_task(source.path.name, total=length or None)
                    sample = predictor.predict(image)
                    results.add(source, sample, predictor.draw(image, sample, score_thr), **frame)
                    for note in notes:
                        say(f'note: {source.path} {note}')
                    if frame_task is not None:
                        progress.advance(frame_task)
            except BrokenSource as error:
                skipped.append(source)
                say(f'skipped: {source.path} {error}')
            finally:
                results.finish(source)
            if frame_task is not None:
                progress.remove_task(frame_task)
            progress.advance(total)
    return skipped


@command('what was predicted so far is in the folder of --out')
def main() -> None:
    args = parse_args()
    dtype = deploy_dtype(args)
    sources, cfg, checkpoint = prepare(args)
    info = dict(config=args.config, checkpoint=args.checkpoint, root=str(sources[0].root))
    predictor = Predictor(cfg, checkpoint, args.checkpoint, args.device, args.deploy, dtype)
    del checkpoint  # its optimizer may be twice the model
    with Results(args.out, predictor.classes, predictor.palette, cfg.default_scope == 'mmseg', info) as results:
        skipped = predict(predictor, sources, results, args.score_thr)
    print(f'{len(sources) - len(skipped)} of {len(sources)} predicted; results are in {args.out}')
    if skipped:
        print(f'{len(skipped)} skipped: ' + ', '.join(str(source.path) for source in skipped), file=sys.stderr)
        sys.exit(DONE_BUT_BROKEN)


if __name__ == '__main__':
    main()
