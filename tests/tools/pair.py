"""A tool for two processes, of which one may end as it is told.

`pair.py finished|killed|frozen|memory|interrupted --launcher pytorch`
"""

import os
import signal
import subprocess
import sys
import time

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_dist_info

from mmiformer.engine.cli import command
from mmiformer.engine.launch import join_processes


def end(how: str) -> None:
    """End this process, or stop it, in one of the ways."""
    if how == 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == 'frozen':
        subprocess.Popen(['sh', '-c', f'sleep 11; kill -KILL {os.getpid()}'])
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == 'memory':
        torch.empty(2**50)
    elif how == 'interrupted':
        os.kill(os.getppid(), signal.SIGINT)  # Ctrl-C reaches torchrun, whose processes are in sessions of their own
        time.sleep(600)


@command('')
def main() -> None:
    cfg = Config(dict(model=dict(), env_cfg=dict(dist_cfg=dict(backend='gloo'))))
    if sys.argv[1] == 'frozen':
        cfg.env_cfg.dist_cfg.timeout = 8
    join_processes(cfg, 'pytorch')
    rank, size = get_dist_info()
    print(f'process {rank} of {size} is at work', flush=True)
    barrier()
    if rank == 1:
        end(sys.argv[1])
    barrier()  # where the other process waits


main()
