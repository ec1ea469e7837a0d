"""From nothing to two trained networks, in minutes, on a CPU and without any data.

python tools/demo.py            in work_dirs/demo; run again, it goes on where it stopped, or says that it is done
python tools/demo.py --fresh    start over
python tools/demo.py --quick    one or two training steps, to see that everything runs; nothing is learned

It draws a data set, trains Mask R-CNN and Semantic FPN with iFormer-T on it from random weights, evaluates both on
held-out scenes, predicts some of these, and reports: report.html and report.png. Ctrl-C can stop it anywhere.
"""

import json
import shutil
import signal
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from mmiformer.demo.curves import read_curves
from mmiformer.demo.pictures import held_out, view
from mmiformer.demo.report import Part, draw, format_results, write_page
from mmiformer.demo.steps import Step, StepFailed, Steps, terminate
from mmiformer.engine.cli import interrupted, plain_errors
from mmiformer.engine.config import read_config
from mmiformer.evaluation.tables import write_json
from mmiformer.hub import config_dir

TOOLS = Path(__file__).parent
SHOWN = 6  # scenes in the report; the sixth of every eight is crowded


@dataclass(frozen=True)
class Task:
    """A network to train.

    Attributes:
        name: Folder of its config.
        title: What to call it.
        data: Folder of its layout in the data set.
        figures: Those of its evaluation to report.
        quick: Changes of its config for `--quick`.
    """

    name: str
    title: str
    data: str
    figures: tuple[str, ...]
    quick: Mapping[str, int]

    @property
    def config(self) -> Path:
        return config_dir() / self.name / 'iformer_t_shapes.py'


QUICK = {'train_cfg.val_interval': 1, 'train_dataloader.batch_size': 4, 'default_hooks.logger.interval': 1}
TASKS = (
    Task(
        'mask_rcnn',
        'Mask R-CNN, iFormer-T',
        'coco',
        ('box AP', 'box AP50', 'mask AP', 'mask AP50'),
        {'train_cfg.max_epochs': 1, **QUICK},
    ),
    Task('sem_fpn', 'Semantic FPN, iFormer-T', 'ade', ('mIoU', 'mAcc', 'aAcc'), {'train_cfg.max_iters': 2, **QUICK}),
)


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo'), metavar='DIR', help='default: %(default)s')
    parser.add_argument(
        '--seed', type=int, default=0, help='of the scenes and of both trainings (default: %(default)s)'
    )
    parser.add_argument('--images', type=int, metavar='N', help='scenes to draw (default: 300; with --quick 10)')
    parser.add_argument('--fresh', action='store_true', help='remove what an earlier demo left in DIR, and start over')
    parser.add_argument('--quick', action='store_true', help='one or two training steps; nothing is learned')
    args = parser.parse_args()
    if args.images is None:
        args.images = 10 if args.quick else 300
    if args.images < 2:
        parser.error(f'--images {args.images}: one to train on and one held out are the least')
    if not 0 <= args.seed < 2**32:
        parser.error(f'--seed {args.seed} is not from 0 to 2**32 - 1')
    return args


class Demo:
    """A folder, and the steps that fill it; a step whose result is there is not done again.

    Args:
        args: The command line.

    Raises:
        FileExistsError: The folder holds something else, or another demo.
    """

    def __init__(self, args: Namespace):
        self.out = args.out.expanduser()
        self.data = self.out / 'data'
        self.report, self.picture = self.out / 'report.html', self.out / 'report.png'
        self.settings = dict(seed=args.seed, images=args.images, quick=args.quick)
        self.ran = False
        self._claim(args.fresh)
        self.steps = Steps(self.out, torch.get_num_threads())

    def _claim(self, fresh: bool) -> None:
        record = self.out / 'demo.json'
        if self.out.exists() and not record.is_file() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise FileExistsError(f'{self.out} is there, and not of a demo: give another --out')
        if fresh and self.out.exists():  # moved aside first: stopped on the way, it leaves no half of a demo
            with tempfile.TemporaryDirectory(prefix=f'.{self.out.name}.', dir=self.out.parent) as aside:
                self.out.rename(Path(aside) / self.out.name)
        if record.is_file() and (found := json.loads(record.read_text())) != self.settings:
            raise FileExistsError(
                f'{self.out} holds a demo with {found}, not {self.settings}: ask for the same one, give another --out, '
                'or start over with --fresh (make demo FRESH=1)'
            )
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(record, self.settings)

    def run(self) -> None:
        """Do what is left to do."""
        if not self.data.exists():
            options = ['--images', self.settings['images'], '--seed', self.settings['seed']]
            self._run(Step('draw the scenes', TOOLS / 'make_shapes.py', [self.data, *options]))
        self._run(*map(self.training, TASKS))
        self._run(*map(self.evaluation, TASKS))
        self._run(*map(self.prediction, TASKS))
        for task in TASKS:
            if (part := self._part(task)).exists():
                part.rename(self._predictions(task))  # which are there when they are complete
        if self.ran or not (self.report.is_file() and self.picture.is_file()):
            self.write_report()

    def _run(self, *steps: Step | None) -> None:
        if left := [step for step in steps if step]:
            self.ran = True
            self.steps.run(*left)

    def training(self, task: Task) -> Step | None:
        """How to train a network, or to go on training it; None if it is trained."""
        record = self._checkpoint(task).with_name('last_checkpoint')
        saved = Path(record.read_text()).name if record.is_file() else ''
        if saved == self._checkpoint(task).name and self._checkpoint(task).is_file():
            return None
        if not (saved and record.with_name(saved).is_file()):
            shutil.rmtree(record.parent, ignore_errors=True)  # stopped before its first checkpoint was complete
        changes = self._changes(task)
        options = ['--seed', self.settings['seed'], '--resume']
        options += ['--cfg-options', *(f'{key}={value}' for key, value in changes.items())] if changes else []
        place = ['--work-dir', record.parent, '--data-root', self.data / task.data]
        return Step(f'train {task.title}', TOOLS / 'train.py', [task.config, *place, *options])

    def evaluation(self, task: Task) -> Step | None:
        """How to evaluate a network on the held-out scenes; None if it is evaluated."""
        if (result := self._result(task)).is_file():
            return None
        place = ['--work-dir', self.out / task.name / 'test', '--data-root', self.data / task.data, '--out', result]
        return Step(f'evaluate {task.title}', TOOLS / 'test.py', [task.config, self._checkpoint(task), *place])

    def prediction(self, task: Task) -> Step | None:
        """How to predict the scenes of the report; None if they are predicted."""
        if self._predictions(task).exists():
            return None
        scenes = held_out(self.data, SHOWN)
        arguments = [task.config, self._checkpoint(task), *scenes, '--out', self._part(task), '--overwrite']
        return Step(f'predict with {task.title}', TOOLS / 'predict.py', arguments)

    def _changes(self, task: Task) -> Mapping[str, int]:
        return task.quick if self.settings['quick'] else {}

    def _checkpoint(self, task: Task) -> Path:
        """The last checkpoint of a task's training."""
        cfg = read_config(task.config)
        cfg.merge_from_dict(dict(self._changes(task)))
        loop = cfg.train_cfg
        last = f'epoch_{loop.max_epochs}.pth' if 'max_epochs' in loop else f'iter_{loop.max_iters}.pth'
        return self.out / task.name / last

    def _result(self, task: Task) -> Path:
        return self.out / 'results' / f'{task.name}.json'

    def _predictions(self, task: Task) -> Path:
        return self.out / 'predictions' / task.name

    def _part(self, task: Task) -> Path:
        return self.out / 'predictions' / f'{task.name}.part'

    def parts(self) -> list[Part]:
        """What the tasks came to."""
        parts = []
        for task in TASKS:
            measured = json.loads(self._result(task).read_text())['figures']
            figures = {name: measured.get(name) for name in task.figures}
            parts.append(Part(task.title, figures, read_curves(self.out / task.name)))
        return parts

    def write_report(self) -> None:
        """Write the picture and the page."""
        self.ran = True
        predictions = [self._predictions(task) for task in TASKS]
        draw(self.parts(), [view(self.data, scene, *predictions) for scene in held_out(self.data, SHOWN)], self.picture)
        device = (
            torch.cuda.get_device_name() if torch.cuda.is_available() else f'CPU, {torch.get_num_threads()} threads'
        )
        held = len(held_out(self.data, self.settings['images']))
        facts = {
            'scenes': f'{self.settings["images"] - held} to train on, {held} held out',
            'seed': self.settings['seed'],
            'PyTorch': torch.__version__,
            'device': device,
        }
        write_page(self.parts(), self.steps.times, facts, self.picture, self.report)


def main() -> None:
    args = parse_args()
    signal.signal(signal.SIGTERM, terminate)
    try:
        with plain_errors(OSError, ValueError):
            demo = Demo(args)
        with plain_errors(StepFailed, OSError):
            demo.run()
    except KeyboardInterrupt:
        interrupted('run the same again, and it goes on from here')
    if not demo.ran:
        print(f'The demo in {demo.out} is done; --fresh (make demo FRESH=1) starts over.')
    print(f'\n{format_results(demo.parts(), demo.steps.times)}\n')
    for path in (demo.report, demo.picture):
        print(f'look at {path.absolute()}')


if __name__ == '__main__':
    main()
