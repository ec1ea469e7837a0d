"""Wrong calls of the scripts that start several processes: one line, before anything is started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ..tools.command import REPO

NUMBERS = ('0', '-1', '1.5', 'x', '1 2', '08', '1e3', '٣', '0x8', '+1', '1;ls')
PORTS = ('0', '-1', 'x', '65536', '100000', '1.5', '29500 ', '0x1')
RIGHT = {
    'dist_train.sh': ['config.py', '1'],
    'dist_test.sh': ['config.py', 'x.pth', '1'],
    'slurm_train.sh': ['gpu', 'job', 'config.py', 'run'],
    'slurm_test.sh': ['gpu', 'job', 'config.py', 'x.pth'],
}


def calls(script: str) -> list[tuple[list[str], dict[str, str]]]:
    """Arguments and variables, with one thing wrong in each call."""
    right = RIGHT[script]
    found = [(right[:number], {}) for number in range(len(right))]  # too few
    if script.startswith('dist'):
        found += [([*right[:-1], number], {}) for number in NUMBERS]
        found += [(right, dict(NNODES=number)) for number in NUMBERS]
        found += [(right, dict(NNODES='2', MASTER_ADDR='a', NODE_RANK=rank)) for rank in ('', '2', '-1', 'x', '1.5')]
        found += [(right, dict(NNODES='2', NODE_RANK='0', MASTER_ADDR=''))]
        found += [(right, dict(PYTHON=python)) for python in ('nosuch', '/dev/null', str(REPO), 'false', 'a b')]
    else:
        found += [(right, {name: number}) for name in ('GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK') for number in NUMBERS]
        found += [(right, dict(GPUS=gpus, GPUS_PER_NODE='4')) for gpus in ('3', '6', '13')]
        found += [(right, dict(PATH=os.defpath))]  # without Slurm
    return found + [(right, dict(PORT=port)) for port in PORTS]


@pytest.mark.parametrize('script', RIGHT)
def test_wrong_calls(script, tmp_path):
    (tmp_path / 'srun').write_text('#!/bin/sh\necho started\n')
    (tmp_path / 'srun').chmod(0o755)
    env = dict(PYTHON=sys.executable, PATH=f'{tmp_path}:{os.environ["PATH"]}')
    for arguments, variables in calls(script):
        done = subprocess.run(
            ['bash', REPO / 'tools' / script, *arguments], env={**env, **variables}, capture_output=True, text=True
        )
        assert done.returncode == 2, (arguments, variables, done)
        assert done.stderr.startswith(f'{script}: error: ') and done.stderr.count('\n') == 1, done.stderr
        assert 'started' not in done.stdout
