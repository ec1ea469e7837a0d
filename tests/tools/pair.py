"""A tool for two processes, which ends as it is told: `pair.py finished|killed|interrupted --launcher pytorch`."""

import os
import signal
import sys
import time

from mmengine.config import Config
from mmengine.dist import barrier, get_dist_info

from mmiformer.engine.launch import join_processes

join_processes(Config(dict(model=dict())), 'pytorch')
rank, size = get_dist_info()
print(f'process {rank} of {size} is at work', flush=True)
barrier()
if rank == 1 and sys.argv[1] == 'killed':
    os.kill(os.getpid(), signal.SIGKILL)
if rank == 1 and sys.argv[1] == 'interrupted':
    os.kill(os.getppid(), signal.SIGINT)  # Ctrl-C reaches torchrun, whose processes are in sessions of their own
    time.sleep(600)
barrier()  # where the other process waits
