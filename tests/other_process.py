"""A process that is at work in a folder, while a test asks for the same one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Beside its lock it starts a process of its own, as one that loads data.
_HOLDS = """
import fcntl, os, sys
file = open(sys.argv[1], 'a')
fcntl.lockf(file, fcntl.LOCK_EX)
if child := os.fork():
    print(child, flush=True)
sys.stdin.read()
"""


@contextmanager
def at_work(folder: Path) -> Iterator[subprocess.Popen]:
    """Hold the lock of a folder, which is made, as :func:`mmiformer.files.alone_in` does in another process."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, '-c', _HOLDS, str(folder / '.lock')]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        yield process
        process.kill()
        process.stdin.close()  # which ends the process that it has started
