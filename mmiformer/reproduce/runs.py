"""Runs of a row: evaluating its published checkpoint, or training and evaluating it, one step after the other."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from shlex import join

import torch

from ..checks.dataset import data_configs
from ..download import name_of
from ..engine.config import LOADERS, read_config
from ..engine.jobs import Step, Steps
from ..files import read_json
from .results import Result, commit, hash_config, read_results
from .rows import Row


@dataclass(frozen=True)
class Place:
    """Where runs are, and what runs them.

    Attributes:
        out: The folder of the reproduction.
        tools: The folder of the command lines.
        gpus: Processes of a run, one a GPU; None for one process on whatever is there.
    """

    out: Path
    tools: Path
    gpus: int | None = None

    def command(self, tool: str, *arguments: object) -> list[str]:
        """The command that runs a tool, whose first arguments are its own and whose options follow."""
        if self.gpus is None:
            return [sys.executable, str(self.tools / f'{tool}.py'), *map(str, arguments)]
        first = 1 if tool == 'train' else 2  # arguments before the number of GPUs
        script = ['env', f'PYTHON={sys.executable}', 'bash', str(self.tools / f'dist_{tool}.sh')]
        return [*script, *map(str, arguments[:first]), str(self.gpus), *map(str, arguments[first:])]

    @property
    def results(self) -> Path:
        """The folder of results."""
        return self.out / 'results'


class Run:
    """A run, in a folder of its own. What it has done is not done again.

    The folder's name has the hash of the config, and of a training the batch and the seed: a run with others is
    another run.

    Args:
        row: The row.
        task: Key of the task.
        place: Where it runs.
        seed: Of a training; None to evaluate the published checkpoint.
    """

    def __init__(self, row: Row, task: str, place: Place, seed: int | None = None):
        self.row, self.task, self.seed, self._place = row, task, seed, place
        self.config, self.cfg = row.configs[task], read_config(row.configs[task])
        self.kind = 'evaluated' if seed is None else 'trained'
        self.batch = self.cfg.test_dataloader.batch_size
        what = 'evaluated'
        if seed is not None:
            self.batch = self.cfg.train_dataloader.batch_size * (place.gpus or 1)
            what = f'b{self.batch}-seed{seed}'
        self._hash = hash_config(self.cfg)
        self.name = f'{task}-{row.key}-{self._hash}-{what}'
        self.folder = place.out / 'runs' / self.name
        self.work_dir, self.figures = self.folder / 'train', self.folder / 'figures.json'

    def run(self) -> bool:
        """Do what is left to do, and write the result. Returns whether there was anything.

        Raises:
            StepFailed: A step ended with an error.
            KeyboardInterrupt: It was stopped.
        """
        began = self.folder / 'commit.txt'
        if not began.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            began.write_text(commit())
        steps, ran = Steps(self.folder), False
        if self.seed is not None:
            if not self.checkpoint.is_file():
                shutil.rmtree(self.work_dir, ignore_errors=True)  # stopped before its first checkpoint was complete
            ran |= steps.run(self._training())
        ran |= steps.run(self._evaluation())
        if ran or not self.results:
            self._record(steps)
        return ran

    @property
    def results(self) -> list[Path]:
        """Files with its results: one, or none before it has ended; more if its folder was removed and it ran again."""
        return sorted(self._place.results.glob(f'{self.name}-*.json'))

    @property
    def title(self) -> str:
        """What to call it."""
        return f'{self.row.title}, {self.row.tasks[self.task].title}' + (
            f', seed {self.seed}' if self.seed is not None else ''
        )

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint of the training; a path that does not exist where there is none."""
        record = self.work_dir / 'last_checkpoint'
        return record.with_name(Path(record.read_text()).name if record.is_file() else 'last_checkpoint')

    def _training(self) -> Step:
        options = ['--work-dir', self.work_dir, '--seed', self.seed, '--resume']
        if self.batch != self.cfg.auto_scale_lr.base_batch_size:
            options.append('--auto-scale-lr')
        command = self._place.command('train', self.config, *options)
        return Step(f'train {self.title}', command, self.work_dir / 'last_checkpoint')

    def _evaluation(self) -> Step:
        weights = self.row.checkpoints[self.task].name if self.seed is None else self.checkpoint
        options = ['--work-dir', self.folder / 'test', '--out', self.figures]
        return Step(f'evaluate {self.title}', self._place.command('test', self.config, weights, *options), self.figures)

    def _record(self, steps: Steps) -> None:
        found = read_json(self.figures)
        names = self.row.tasks[self.task].figures
        trained = self.seed is not None
        began = (self.folder / 'commit.txt').read_text()
        result = Result(
            row=self.row.key,
            task=self.task,
            kind=self.kind,
            config=str(self.config),
            config_hash=self._hash,
            commit=', '.join(dict.fromkeys([began, commit()])),
            batch=self.batch,
            seed=self.seed,
            images=found['images'],
            figures={name: found['figures'].get(name.replace('_', ' ')) for name in names},
            hours=steps.seconds[f'train {self.title}'] / 3600 if trained else None,
            memory=max_memory(self.work_dir) if trained else None,
            work_dir=str(self.work_dir) if trained else None,
        )
        result.save(self._place.results / f'{self.name}-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}.json')

    def plan(self) -> str:
        """What it would do: the commands, what is missing, and what an earlier run of the row took."""
        steps = [self._training()] if self.seed is not None else []
        lines = [f'# {self.title}', *(join(map(str, step.command)) for step in (*steps, self._evaluation()))]
        lines += [f'# data: {path} is missing' for path in self._missing_data()]
        lines += [
            f'# weights: {source} is not on this machine, and will be fetched' for source in self._missing_weights()
        ]
        if self.seed is not None:
            earlier = [
                one for one in read_results(self._place.results) if (one.row, one.task) == (self.row.key, self.task)
            ]
            took = next((one for one in earlier if one.kind == 'trained'), None)
            memory = f'{took.memory} MB' if took and took.memory else 'not known'
            hours = (
                f'{took.hours:.1f} (batch {took.batch}, {took.machine["gpus"] or "no GPU"})' if took else 'not known'
            )
            lines.append(f'# GPU memory: {memory}; hours: {hours}')
        return '\n'.join(lines)

    def _missing_data(self) -> list[Path]:
        found = data_configs(self.cfg, LOADERS if self.seed is not None else LOADERS[-1:]).values()
        paths = [Path(path) for data in found for path in (*data.prefixes.values(), data.annotations) if path]
        return [path for path in dict.fromkeys(paths) if not path.exists()]

    def _missing_weights(self) -> Iterator[str]:
        if self.seed is None:
            sources = [self.row.checkpoints[self.task].name]
        else:
            parts = (self.cfg.model.get('backbone'), self.cfg.model.get('teacher'))
            sources = [(part.get('init_cfg') or {}).get('checkpoint') for part in parts if part]
        cache = Path(torch.hub.get_dir(), 'checkpoints')
        for source in filter(None, sources):
            if not Path(source).is_file() and not (cache / (name_of(source) or source)).is_file():
                yield source


def plan_runs(rows: Sequence[Row], tasks: Sequence[str], place: Place, kind: str, seeds: int = 1) -> list[Run]:
    """The runs of some rows: of a training one for each seed, of an evaluation one for each published checkpoint.

    Args:
        rows: The rows. Those without a config, or without a checkpoint to be evaluated, have none.
        tasks: Keys of the tasks.
        place: Where they run.
        kind: 'evaluated' or 'trained'.
        seeds: How many, from 0.
    """
    runs = []
    for row in rows:
        for task in tasks:
            if task in row.configs and kind == 'trained':
                runs += [Run(row, task, place, seed) for seed in range(seeds)]
            elif task in row.configs and task in row.checkpoints:
                runs.append(Run(row, task, place))
    return runs


def max_memory(work_dir: Path) -> int | None:
    """MB of GPU memory that a training took at most, by its logs."""
    lines = [line for file in work_dir.glob('*/vis_data/scalars.json') for line in file.read_text().splitlines()]
    found = [json.loads(line).get('memory') for line in lines if line.endswith('}')]
    return max(filter(None, found), default=None)


# ---- Slurm


def job_script(run: Run, command: Sequence[object], partition: str, gpus: int) -> str:
    """A Slurm job on one machine that does a command, such as all trainings of a row and a task.

    Before its time ends, or where Slurm preempts it, the command is stopped, so that a training saves a checkpoint, and
    the job goes back into the queue. The command must go on where it was stopped.
    """
    log = run.folder.parent.parent / 'slurm' / f'{run.task}-{run.row.key}-%j.log'
    return f"""#!/usr/bin/env bash
#SBATCH --job-name={run.task}-{run.row.key}
#SBATCH --partition={partition}
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gres=gpu:{gpus}
#SBATCH --cpus-per-task={5 * gpus}
#SBATCH --output={log}
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@180

stop() {{
    kill -TERM "$command"
    wait "$command"
}}
trap 'stop; scontrol requeue "$SLURM_JOB_ID"' USR1 # the time is nearly over
trap stop TERM # cancelled; where it is preempted, Slurm puts it back by itself
{join(map(str, command))} &
command=$!
wait "$command"
"""
