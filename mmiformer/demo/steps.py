"""Running the project's own commands, each in a process of its own, with its output in a file."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.progress import Progress, TextColumn
from rich.table import Column

from ..evaluation.tables import write_json

TAIL = 15  # lines of a failed step's output that are shown
PATIENCE = 30  # seconds that a stopped step gets to end by itself
IN_ALL = 'in all'
_LOGGED = re.compile(r'(?:Epoch|Iter)\((train|val|test)\)\s+((?:\[ *\d+])?)\[ *(\d+)/(\d+)](?:.* eta: (\S+))?(.*)')
_LOSS = re.compile(r' loss: (\S+)')


class StepFailed(RuntimeError):
    """A step ended with an error; the message says which, why, and where its output is."""


class Terminated(KeyboardInterrupt):
    """This process alone was told to end; Ctrl-C tells its steps as well."""


def terminate(*_: object) -> NoReturn:
    """Raise :class:`Terminated`: a handler for SIGTERM."""
    raise Terminated


@dataclass(frozen=True)
class Step:
    """A call of a Python script.

    Attributes:
        title: What to call the step.
        script: The file.
        arguments: Of its command line.
    """

    title: str
    script: Path
    arguments: Sequence[object] = ()


class Steps:
    """The steps of a demo, and how long they took, over all the calls that they needed.

    Args:
        folder: Where `times.json` and the output of the steps (`logs/*.log`) go.
        threads: How many of torch's threads steps that run at once have together.

    Attributes:
        times: {title: seconds} of each step, and last :data:`IN_ALL`, less than their sum where some ran at once.
    """

    def __init__(self, folder: Path, threads: int):
        self._threads = threads
        self._logs = folder / 'logs'
        self._file = folder / 'times.json'
        self.times: dict[str, float] = json.loads(self._file.read_text()) if self._file.is_file() else {}

    def run(self, *steps: Step) -> None:
        """Run steps at once, each with its share of the threads; of what they print, show how far they are.

        Raises:
            StepFailed: One ended with an exit status other than 0; the others have been stopped.
            KeyboardInterrupt: Ctrl-C or :class:`Terminated`; the steps have ended by then.
        """
        # Networks as small as the demo's gain next to nothing from a second thread: two at once are done sooner, each
        # with half of the threads, than one after the other.
        env = os.environ | {'OMP_NUM_THREADS': str(max(1, self._threads // len(steps)))}
        before, began = dict(self.times), time.monotonic()
        running = []
        try:
            for step in steps:
                running.append(_Running(step, self._logs, env))
            self._follow(running)
        except (StepFailed, OSError, Terminated):
            for one in running:
                one.process.send_signal(signal.SIGINT)
            raise
        finally:
            for one in running:
                one.end()
                self.times[one.title] = before.get(one.title, 0.0) + one.seconds
            self.times[IN_ALL] = self.times.pop(IN_ALL, 0.0) + time.monotonic() - began
            write_json(self._file, self.times)

    def _follow(self, running: Sequence['_Running']) -> None:
        """Show how far steps are until all have ended well or one has failed."""
        with _Display(one.title for one in running) as display:
            while running:
                time.sleep(0.1)
                for one in running:
                    if one.ended():
                        display.end(one.title, self.times.get(one.title, 0.0) + one.seconds)
                    elif told := one.told():
                        display.show(one.title, told)
                    if one.process.returncode:
                        raise StepFailed(one.failure())
                running = [one for one in running if one.seconds is None]


class _Running:
    """A step's process.

    Args:
        step: What to run.
        folder: Where the log goes.
        env: The environment.
    """

    def __init__(self, step: Step, folder: Path, env: Mapping[str, str]):
        self.title, self.script = step.title, step.script
        self.seconds: float | None = None  # known when the step has ended
        self._began = time.monotonic()
        self._path = folder / f'{re.sub("[^a-z0-9]+", "_", step.title.lower())}.log'
        folder.mkdir(parents=True, exist_ok=True)
        with self._path.open('a') as log:
            self._log = self._path.open(errors='replace')
            self._log.seek(0, os.SEEK_END)  # after what an earlier call printed
            # -u: lines come when they are printed, not when a buffer is full
            command = [sys.executable, '-u', str(step.script), *map(str, step.arguments)]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env)

    def told(self) -> str | None:
        """How far the step is, by what it printed since the last call."""
        return next(filter(None, map(brief, reversed(self._log.readlines()))), None)

    def ended(self) -> bool:
        """Whether the process has ended."""
        if self.seconds is None and self.process.poll() is not None:
            self.seconds = time.monotonic() - self._began
            self._log.close()
        return self.seconds is not None

    def end(self) -> None:
        """Wait for a process that was told to end, and end it if it does not."""
        try:
            self.process.wait(PATIENCE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self.process.kill()
            self.process.wait()
        self.ended()

    def failure(self) -> str:
        """What to say of a process that failed."""
        end = self._path.read_text(errors='replace').splitlines()[-TAIL:]
        said = f'{self.title}: {self.script.name} ended with status {self.process.returncode}. The end of {self._path}:'
        return '\n  '.join([said, *end])


def brief(line: str) -> str | None:
    """How far a step is by a line of its output, or None where the line does not tell."""
    if not (logged := _LOGGED.search(line)):
        return None
    mode, epoch, done, total, eta, rest = logged.groups()
    parts = [{'train': 'training', 'val': 'evaluating', 'test': 'evaluating'}[mode]]
    parts += [f'epoch {epoch.strip("[ ]")}'] if epoch else []
    parts += [f'{done} of {total}']
    if mode == 'train' and (loss := _LOSS.search(rest)):
        parts += [f'loss {loss[1]}']
    parts += [f'{eta} left'] if eta else []
    return ', '.join(parts)


class _Display:
    """A line for each step: on a terminal it is written over, in a file there are only its beginning and its end.

    Args:
        titles: Of the steps.
    """

    def __init__(self, titles: Iterable[str]):
        one_line = Column(no_wrap=True, overflow='ellipsis')
        self._progress = Progress(TextColumn('{task.description}', markup=False, table_column=one_line))
        self._terminal = self._progress.console.is_terminal
        self._progress.disable = not self._terminal
        self._lines = {title: self._progress.add_task(title) for title in titles}

    def __enter__(self) -> '_Display':
        self._progress.start()
        if not self._terminal:
            for title in self._lines:
                print(f'{title} ...', flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, title: str, told: str) -> None:
        """Say how far a step is."""
        self._progress.update(self._lines[title], description=f'{title}: {told}')

    def end(self, title: str, seconds: float) -> None:
        """Say how long a step took."""
        self.show(title, f'{seconds:.0f} s')
        if not self._terminal:
            print(f'{title}: {seconds:.0f} s', flush=True)
