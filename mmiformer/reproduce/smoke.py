"""The whole machinery in small: two rows and both tasks on drawn scenes, with a kill in the middle."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from ..engine.jobs import Step, Steps
from ..errors import UserError
from ..evaluation.tables import write_json
from ..files import whole_file
from ..hub import config_dir
from .measuring import backbones, measure
from .report import write_report
from .results import cell, differs, read_results
from .rows import TASKS, Checkpoint, Row
from .runs import Place, Run, plan_runs

SIZE = 128  # of the scenes
FORMS = ('plain', 'deploy', 'folded')
_RESNET = """
model = dict(
    backbone=dict(_delete_=True, type='{scope}.ResNet', depth=18, norm_eval=False),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
"""
ROWS = {'iformer_t': ('iFormer-T', ''), 'resnet18': ('ResNet-18', _RESNET)}
_CONFIG = """_base_ = {base!r}
train_cfg = dict({length})
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20)]
default_hooks = dict(logger=dict(interval=1))
"""


def write_rows(folder: Path, rows: Mapping[str, tuple[str, str]], epochs: int, iterations: int) -> list[Row]:
    """Rows whose configs are short trainings on the drawn scenes.

    Args:
        folder: Of the configs.
        rows: {key: title and what it changes in its config}.
        epochs: Of Mask R-CNN.
        iterations: Of Semantic FPN.
    """
    half = iterations // 2
    lengths = dict(
        coco=f'max_epochs={epochs}, val_interval=1',
        ade20k=f'max_iters={iterations}, val_interval={half}',
    )
    found = []
    for key, (title, change) in rows.items():
        configs = {}
        for task in TASKS.values():
            text = _CONFIG.format(
                base=str(config_dir() / task.folder / 'iformer_t_shapes.py'), length=lengths[task.key]
            )
            if task.key == 'ade20k':
                text += f'default_hooks["checkpoint"] = dict(interval={half})\n'
            text += change.format(scope='mmdet' if task.key == 'coco' else 'mmseg')
            configs[task.key] = path = folder / f'{task.folder}_{key}.py'
            with whole_file(path) as part:
                part.write_text(text)
        found.append(Row(key, title, configs=configs))
    return found


def smoke(
    out: Path,
    tools: Path,
    rows: Mapping[str, tuple[str, str]] = ROWS,
    images: int = 120,
    epochs: int = 4,
    iterations: int = 160,
    rounds: int = 10,
) -> None:
    """Draw the scenes, train (and be killed, and go on), evaluate the checkpoints again, measure, and report.

    Args:
        out: The folder. What is there is not done again.
        tools: The folder of the command lines.
        rows: As in :func:`write_rows`.
        images: How many scenes are drawn.
        epochs: As in :func:`write_rows`.
        iterations: As in :func:`write_rows`.
        rounds: Of the timing.

    Raises:
        StepFailed: A step ended with an error.
        UserError: A checkpoint that was evaluated again did not get its own figures.
    """
    os.environ['SHAPES_ROOT'] = str(out / 'data')
    draw = [sys.executable, tools / 'make_shapes.py', out / 'data', '--images', images]
    Steps(out).run(Step('draw the scenes', draw, out / 'data/shapes.json'))
    place, written = Place(out, tools), write_rows(out / 'configs', rows, epochs, iterations)
    runs = plan_runs(written, list(TASKS), place, 'trained')
    run_and_kill(runs[0])
    for run in runs:
        run.run()
    trained = [with_checkpoints(row, runs) for row in written]
    for run in plan_runs(trained, list(TASKS), place, 'evaluated'):
        run.run()
    results = read_results(place.results)
    check(trained, results)
    measured = out / 'measured' / 'smoke.json'
    if not measured.is_file():
        write_json(measured, measure(backbones(written, FORMS), [SIZE], rounds, 2, torch.device('cpu'), graphs=False))
    write_report(out, 'Two small rows on drawn scenes', trained, results, [measured], out / 'runs')


def run_and_kill(run: Run) -> None:
    """Start a training, and end it with SIGTERM once it has written its first checkpoint, unless it has one already."""
    killed = threading.Event()

    def kill() -> None:
        while not run.checkpoint.is_file():
            time.sleep(0.05)
        killed.set()
        os.kill(os.getpid(), signal.SIGTERM)

    if run.checkpoint.is_file():
        return
    threading.Thread(target=kill, daemon=True).start()
    try:
        run.run()
    except KeyboardInterrupt:
        if not killed.is_set():
            raise
        print(f'killed after its first checkpoint, to go on from there: {run.title}', flush=True)


def with_checkpoints(row: Row, runs: list[Run]) -> Row:
    """The row with what it trained as its published checkpoints."""
    checkpoints = {}
    for run in runs:
        if run.row.key == row.key:
            path = run.results[-1]
            figures = json.loads(path.read_text())['figures']
            result = {name: round(value, 1) for name, value in figures.items() if value is not None}
            checkpoints[run.task] = Checkpoint(str(run.checkpoint), result)
    return replace(row, checkpoints=checkpoints)


def check(rows: list[Row], results: list) -> None:
    """Check that checkpoints get their own figures when they are evaluated again."""
    for row in rows:
        for task, checkpoint in row.checkpoints.items():
            again = cell(results, row.key, task, 'evaluated')
            if wrong := [name for name in checkpoint.result if differs(again, name, checkpoint.result)]:
                raise UserError(f'{row.title}, {TASKS[task].title}: evaluated again, {", ".join(wrong)} differ')
