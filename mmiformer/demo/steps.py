"""Running the project's own commands one after the other, each in a process, with its output in a file."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ..engine.report import write_json

TAIL = 15  # lines of a failed step's output that are shown
PATIENCE = 30  # seconds that a stopped step gets to end by itself
_LOGGED = re.compile(r'(?:Epoch|Iter)\((train|val|test)\)\s+((?:\[ *\d+])?)\[ *(\d+)/(\d+)](?:.* eta: (\S+))?(.*)')
_LOSS = re.compile(r' loss: (\S+)')


class StepFailed(RuntimeError):
    """A step ended with an error; the message says which, why, and where its output is."""


class Steps:
    """The steps of a demo, and how long each of them took, over all the calls that it needed.

    Args:
        folder: Where `times.json` and the output of the steps (`logs/*.log`) go.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._file = folder / 'times.json'
        self.times: dict[str, float] = json.loads(self._file.read_text()) if self._file.is_file() else {}

    def run(self, title: str, script: Path, *arguments: object) -> None:
        """Run a Python script; of what it prints, show how far it is.

        Args:
            title: What to call the step.
            script: The file.
            arguments: Of its command line.

        Raises:
            StepFailed: It ended with an exit status other than 0.
            KeyboardInterrupt: Ctrl-C; the script, which gets it too, has ended by then.
        """
        log = self.folder / 'logs' / f'{re.sub("[^a-z0-9]+", "_", title.lower())}.log'
        log.parent.mkdir(parents=True, exist_ok=True)
        before, began = self.times.get(title, 0.0), time.monotonic()
        status = _Status(title)
        try:
            with log.open('a', buffering=1) as file:  # line by line, for those who look on
                # -u: lines come when they are printed, not when a buffer is full
                process = subprocess.Popen(
                    [sys.executable, '-u', str(script), *map(str, arguments)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors='replace',
                )
                try:
                    for line in process.stdout:
                        file.write(line)
                        status.show(brief(line))
                    process.wait()
                except BaseException:
                    _end(process)
                    raise
        finally:
            self.times[title] = before + time.monotonic() - began
            write_json(self._file, self.times)
            status.end(f'{self.times[title]:.0f} s')
        if process.returncode:
            raise StepFailed(
                f'{title}: {script.name} ended with status {process.returncode}. The end of {log}:\n'
                + '\n'.join(f'  {line}' for line in log.read_text(errors='replace').splitlines()[-TAIL:])
            )


def _end(process: subprocess.Popen) -> None:
    """Wait for a process that got the same Ctrl-C; if it does not end, end it."""
    try:
        process.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


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


class _Status:
    """A line on a terminal that is written over; in a file only its beginning and its end."""

    def __init__(self, title: str):
        self._title, self._terminal = title, sys.stdout.isatty()
        print(title, end='' if self._terminal else ' ...\n', flush=True)

    def show(self, text: str | None) -> None:
        if text and self._terminal:
            self._print(text)

    def end(self, text: str) -> None:
        if self._terminal:
            self._print(text)
            print(flush=True)
        else:
            print(f'{self._title}: {text}', flush=True)

    def _print(self, text: str) -> None:
        columns = shutil.get_terminal_size().columns - 1
        print('\r' + f'{self._title}: {text}'[:columns].ljust(columns), end='', flush=True)
