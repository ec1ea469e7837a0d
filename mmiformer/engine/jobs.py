"""The runner of steps: commands in processes of their own, one after the other or at once.

A folder remembers its steps, so the same calls go on where an interruption stopped them::

    steps = Steps(folder)
    steps.run(Step('draw', ['python', 'draw.py', folder / 'scenes'], result=folder / 'scenes'))
    steps.run(Step('train A', ...), Step('train B', ...))  # at once
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from ..errors import DONE_BUT_BROKEN, UserError
from ..files import alone_in, read_json, whole_file

TAIL = 15  # lines of a failed step's log that are shown
PATIENCE = 30  # seconds that a step gets to end after SIGTERM
TOTAL = 'in all'
DONE = (0, DONE_BUT_BROKEN)  # exit codes


class StepFailed(UserError):
    """A step ended with an error. The message says which step, how it ended, and what it said last."""


@dataclass(frozen=True)
class Step:
    """A command.

    Attributes:
        name: What to call the step and its log.
        command: The program and its arguments.
        result: A file or folder that the command leaves. If it is gone, the step runs again.
    """

    name: str
    command: Sequence[object]
    result: Path


class Steps:
    """The steps of a folder, with their output in `logs/*.log` and their state in `steps.json`.

    Args:
        folder: The folder.

    Attributes:
        seconds: {name: seconds} of each step, over all calls that it needed, and last :data:`TOTAL`, which counts
            steps that ran at once only once.
    """

    def __init__(self, folder: Path):
        self._folder, self._logs = folder, folder / 'logs'
        self._file = folder / 'steps.json'
        state = read_json(self._file, 'finished', 'seconds') if self._file.is_file() else dict(finished=[], seconds={})
        self._finished = set(state['finished'])
        self.seconds: dict[str, float] = state['seconds']

    def run(self, *steps: Step) -> bool:
        """Run steps at once, each with its share of torch's threads, and show their progress.

        Ctrl-C, SIGTERM and SIGHUP end the steps with SIGTERM. A second Ctrl-C, or `PATIENCE` seconds, kills them.

        Args:
            steps: The steps. Those that have finished earlier are skipped.

        Returns:
            Whether any was left to run.

        Raises:
            StepFailed: A step ended with an error. The others have been ended.
            UserError: Another process runs steps of the folder.
            KeyboardInterrupt: One of the signals came. All steps have been ended.
        """
        steps = [step for step in steps if not (step.name in self._finished and step.result.exists())]
        if not steps:
            return False
        with alone_in(self._folder):
            self._run(steps)
        return True

    def _run(self, steps: Sequence[Step]) -> None:
        self._finished -= {step.name for step in steps}  # whose results are gone
        self._save()
        threads = max(1, torch.get_num_threads() // len(steps))
        began = time.monotonic()
        processes: list[_Process] = []
        with _signals_interrupt():
            try:
                for step in steps:
                    processes.append(_Process(step, self._logs, threads))
                self._follow(processes)
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    process.end()
                    self._add(process.name, process.seconds)
                    if process.returncode in DONE:
                        self._finished.add(process.name)
                self._add(TOTAL, time.monotonic() - began)
                self._save()

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.pop(name, 0.0) + seconds

    def _save(self) -> None:
        with whole_file(self._file) as part:
            part.write_text(json.dumps(dict(finished=sorted(self._finished), seconds=self.seconds), indent=2) + '\n')

    def _follow(self, running: Sequence[_Process]) -> None:
        """Wait for all processes, or for one that fails, with a line of progress for each if this is a terminal."""
        console = Console()
        line = TextColumn('{task.description}', markup=False, table_column=Column(no_wrap=True, overflow='ellipsis'))
        with Progress(
            TimeElapsedColumn(), line, console=console, disable=not console.is_terminal, transient=True
        ) as progress:
            lines = {process.name: progress.add_task(process.name) for process in running}
            if not console.is_terminal:
                print(*(f'{name} ...' for name in lines), sep='\n', flush=True)
            while running:
                time.sleep(0.1)
                for process in running:
                    if process.has_ended():
                        progress.remove_task(lines[process.name])
                        if process.returncode not in DONE:
                            raise StepFailed(process.failure())
                        seconds = self.seconds.get(process.name, 0.0) + process.seconds
                        print(f'{process.name}: {seconds:.0f} s{process.remark()}', flush=True)
                    elif said := process.progress():
                        progress.update(lines[process.name], description=f'{process.name}: {said}')
                running = [process for process in running if process.seconds is None]


class _Process(subprocess.Popen):
    """The process of a step, in a session of its own, so that a terminal's Ctrl-C reaches :class:`Steps` alone.

    Args:
        step: The step.
        logs: Folder of its log.
        threads: How many threads its torch may use.
    """

    def __init__(self, step: Step, logs: Path, threads: int):
        self.name = step.name
        self.seconds: float | None = None  # known once the process has ended
        self._began = time.monotonic()
        self._path = logs / f'{re.sub("[^a-z0-9]+", "_", step.name.lower())}.log'
        logs.mkdir(parents=True, exist_ok=True)
        with self._path.open('a') as log:
            self._log = self._path.open(errors='replace')
            self._log.seek(0, os.SEEK_END)  # after what an earlier call said
            super().__init__(
                [str(word) for word in step.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(OMP_NUM_THREADS=str(threads), PYTHONUNBUFFERED='1'),
                start_new_session=True,
            )

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        if self.seconds is None and self.poll() is not None:
            self.seconds = time.monotonic() - self._began
            self._log.close()
        return self.seconds is not None

    def end(self) -> None:
        """Wait for a process that was told to end, then kill what is left of its session."""
        if not self.has_ended():
            with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                self.wait(PATIENCE)
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.wait()
            self.has_ended()

    def progress(self) -> str:
        """The last progress that the process logged since the previous call, or ''."""
        return next(filter(None, map(brief, reversed(self._log.readlines()))), '')

    def remark(self) -> str:
        """What to say about a process that is done."""
        return f', but some of its data is broken: see {self._path}' if self.returncode else ''

    def failure(self) -> str:
        """What to say about a process that failed."""
        code = self.returncode
        how = f'ended with status {code}' if code > 0 else f'was killed by {signal.Signals(-code).name}'
        tail = self._path.read_text(errors='replace').splitlines()[-TAIL:]
        return '\n  '.join([f'{self.name} {how}. The end of {self._path}:', *tail])


def brief(line: str) -> str:
    """The progress in a line of MMEngine's log: place in the loop, time left, loss. '' if the line has none."""
    loop = re.search(r'(?:Epoch|Iter)\(\w+\) *[\d/ \[\]]+', line)
    return ''.join([loop[0].rstrip(), *re.findall(' (?:eta|loss): [^ ]+', line)]) if loop else ''


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt once, as Ctrl-C does, unless they are ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # Slurm may send it, and a job's script pass it on
        raise KeyboardInterrupt

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
