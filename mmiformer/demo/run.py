"""The steps of a demo, from an empty folder to the report."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..engine.jobs import Step, Steps
from ..errors import UserError
from ..evaluation.curves import read_curves
from ..files import alone_in, read_json, whole_file
from ..hub import config_dir
from .report import SHOWN, Result, draw_picture, write_report
from .scenes import held_out


@dataclass(frozen=True)
class Task:
    """A network to train.

    Attributes:
        name: The folder of its config.
        title: What to call it.
        data: The folder of its layout in the data set.
        quick: What `--quick` changes in its config.
    """

    name: str
    title: str
    data: str
    quick: tuple[str, ...]

    @property
    def config(self) -> Path:
        return config_dir() / self.name / 'iformer_t_shapes.py'


_QUICK = ('train_cfg.val_interval=1', 'train_dataloader.batch_size=4', 'default_hooks.logger.interval=1')
TASKS = (
    Task('mask_rcnn', 'Mask R-CNN, iFormer-T', 'coco', ('train_cfg.max_epochs=1', *_QUICK)),
    Task('sem_fpn', 'Semantic FPN, iFormer-T', 'ade', ('train_cfg.max_iters=2', *_QUICK)),
)


class Demo:
    """A folder, and the steps that fill it. What is there is not done again.

    Args:
        out: The folder.
        tools: The folder of the command lines that the steps call.
        settings: `seed`, `images` and `quick`, of the command line.

    Attributes:
        report: The page.
        picture: The picture.
        steps: The steps.
    """

    def __init__(self, out: Path, tools: Path, settings: Mapping[str, int]):
        self.report, self.picture = out / 'report.html', out / 'report.png'
        self.steps = Steps(out)
        self._out, self._data = out, out / 'data'
        self._tools, self._settings = tools, settings

    def run(self) -> bool:
        """Do what is left to do. Returns whether there was anything."""
        ran = self.steps.run(self._drawing())
        for kind in (self._training, self._evaluation, self._prediction):
            # Networks this small gain little from a second thread: two at once finish sooner than one after the other.
            ran |= self.steps.run(*map(kind, TASKS))
        if ran or not (self.report.is_file() and self.picture.is_file()):
            self._write_report()
            return True
        return False

    def _tool(self, name: str, script: str, *arguments: object, result: Path) -> Step:
        return Step(name, [sys.executable, self._tools / script, *arguments], result)

    def _drawing(self) -> Step:
        options = ['--images', self._settings['images'], '--seed', self._settings['seed']]
        return self._tool('draw the scenes', 'make_shapes.py', self._data, *options, result=self._data / 'shapes.json')

    def _training(self, task: Task) -> Step:
        checkpoint = self.checkpoint(task)
        if not checkpoint.is_file():
            shutil.rmtree(checkpoint.parent, ignore_errors=True)  # stopped before its first checkpoint was complete
        place = ['--work-dir', checkpoint.parent, '--data-root', self._data / task.data]
        options = ['--seed', self._settings['seed'], '--resume']
        options += ['--cfg-options', *task.quick] if self._settings['quick'] else []
        record = checkpoint.with_name('last_checkpoint')
        return self._tool(f'train {task.title}', 'train.py', task.config, *place, *options, result=record)

    def _evaluation(self, task: Task) -> Step:
        place = ['--work-dir', self._out / task.name / 'test', '--data-root', self._data / task.data]
        model, figures = (task.config, self.checkpoint(task)), self._figures(task)
        return self._tool(f'evaluate {task.title}', 'test.py', *model, *place, '--out', figures, result=figures)

    def _prediction(self, task: Task) -> Step:
        model, out = (task.config, self.checkpoint(task)), self._predictions(task)
        options = (*held_out(self._data)[:SHOWN], '--out', out, '--overwrite')
        return self._tool(f'predict with {task.title}', 'predict.py', *model, *options, result=out)

    def checkpoint(self, task: Task) -> Path:
        """The last checkpoint of a task's training; a path that does not exist where there is none."""
        record = self._out / task.name / 'last_checkpoint'
        return record.with_name(Path(record.read_text()).name if record.is_file() else 'none')

    def _figures(self, task: Task) -> Path:
        return self._out / 'results' / f'{task.name}.json'

    def _predictions(self, task: Task) -> Path:
        return self._out / 'predictions' / task.name

    def results(self) -> list[Result]:
        """What the tasks came to."""
        return [
            Result(task.title, read_json(self._figures(task))['figures'], read_curves(self._out / task.name))
            for task in TASKS
        ]

    def _write_report(self) -> None:
        results, held = self.results(), len(held_out(self._data))
        draw_picture(self.picture, results, self._data, *map(self._predictions, TASKS))
        cpu = f'CPU, {torch.get_num_threads()} threads'
        facts = {
            'scenes': f'{self._settings["images"] - held} to train on, {held} held out',
            'seed': self._settings['seed'],
            'PyTorch': torch.__version__,
            'device': torch.cuda.get_device_name() if torch.cuda.is_available() else cpu,
        }
        write_report(self.report, results, self.steps.seconds, facts, self.picture)


def claim(out: Path, settings: Mapping[str, int], fresh: bool) -> None:
    """Make a folder that of a demo, so that no other demo and nothing else is mixed with it.

    Args:
        out: The folder.
        settings: What makes the demo.
        fresh: Remove what an earlier demo left in the folder.

    Raises:
        UserError: The folder holds something else, or another demo, or the one to be removed is running.
    """
    record = out / 'demo.json'
    if out.exists() and not record.is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f'{out} exists and is not the folder of a demo: choose another --out')
    if fresh and out.exists():  # moved aside first: if this is stopped on the way, no half of a demo stays
        with alone_in(out), tempfile.TemporaryDirectory(prefix=f'.{out.name}.', dir=out.parent) as aside:
            out.rename(Path(aside) / out.name)
    if record.is_file() and (found := read_json(record)) != settings:
        raise UserError(
            f'{out} holds a demo with {found}, not with {settings}: use the same settings, choose another --out, or '
            'start over with --fresh (make demo FRESH=1)'
        )
    with whole_file(record) as part:
        part.write_text(json.dumps(settings) + '\n')
