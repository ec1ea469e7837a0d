"""Running the command lines as a user does, from another directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]


def run(tool: str, *arguments: object, cwd: Path, status: int = 0) -> str:
    """Run `tools/{tool}.py` and return what it printed; its exit status must be `status`."""
    command = [sys.executable, str(REPO / 'tools' / f'{tool}.py'), *map(str, arguments)]
    unset = ('COCO_ROOT', 'ADE_ROOT', 'LOCAL_RANK')
    env = {key: value for key, value in os.environ.items() if key not in unset}
    env.update(PYTHONPATH=str(REPO), OMP_NUM_THREADS='1')
    done = subprocess.run(
        command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600
    )
    assert done.returncode == status, f'{" ".join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}'
    return done.stdout
