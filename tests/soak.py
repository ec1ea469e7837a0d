"""What takes too long for the suite: does a training survive being killed at any moment?

python tests/soak.py kill --kills 100

Both tasks are trained on drawn scenes, with tiny networks, and killed with SIGKILL at random moments, many of them
while a checkpoint is being written, until they end. Each must end with the same state as a run which was never killed.
"""

from __future__ import annotations

import argparse
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch
from helpers import differences

from mmiformer.datasets.shapes import make_dataset
from mmiformer.engine.runs import find_checkpoint, read_checkpoint

TESTS = Path(__file__).resolve().parent
TRAIN = TESTS.parent / 'tools' / 'train.py'
RUNS = dict(
    tiny_sem_fpn=('ade', 'train_cfg.max_iters=24', 'train_cfg.val_interval=12', 'default_hooks.checkpoint.interval=2'),
    tiny_mask_rcnn=(
        'coco',
        'train_cfg.max_epochs=6',
        'train_cfg.val_interval=3',
        'default_hooks.checkpoint.by_epoch=False',
        'default_hooks.checkpoint.interval=2',
    ),
)
LATEST = 'default_hooks.checkpoint.max_keep_ckpts=1'  # the hardest case: the last good one is the only one


def start(name: str, scenes: Path, work_dir: Path, workers: int) -> int:
    """Start or resume a run in a process, and process group, of its own; its id."""
    kind, *options = RUNS[name]
    command = [TRAIN, TESTS / 'data' / f'{name}.py', '--data-root', scenes / kind, '--work-dir', work_dir, '--resume']
    options = [*options, LATEST, f'train_dataloader.num_workers={workers}']
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        log = os.open(f'{work_dir}.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        seed = [] if find_checkpoint('auto', work_dir) else ['--seed', 3]
        sys.argv = [str(word) for word in (*command, *seed, '--cfg-options', *options)]
        runpy.run_path(str(TRAIN), run_name='__main__')
        code = 0
    finally:
        os._exit(code)


def ended(process: int) -> bool:
    """Whether a run has ended by itself, which must be with success."""
    done, status = os.waitpid(process, os.WNOHANG)
    if done and status:
        raise SystemExit(f'a run ended with {os.waitstatus_to_exitcode(status)}; see its log')
    return bool(done)


def wait(process: int) -> None:
    """Wait until a run has ended."""
    while not ended(process):
        time.sleep(0.05)


def kill_somewhere(process: int, work_dir: Path, seconds: float, rng: random.Random) -> str | None:
    """Kill a run and return when, or None if it ended before."""
    end, writing = time.monotonic() + rng.uniform(0, seconds), rng.random() < 0.5
    while not ended(process):
        is_writing = next(work_dir.glob('.*.part.pth'), None) is not None
        if is_writing if writing else time.monotonic() > end:
            time.sleep(rng.uniform(0, 0.002) if writing else 0)
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return 'writing' if next(work_dir.glob('.*.part.pth'), None) else 'elsewhere'
        time.sleep(0 if writing and time.monotonic() > end else 0.001)
    return None


def state(work_dir: Path) -> dict:
    """All that must be equal at the end of a run."""
    checkpoint = read_checkpoint(find_checkpoint('auto', work_dir))
    return {key: checkpoint[key] for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')}


def kill(kills: int, seed: int, folder: Path) -> None:
    """Kill runs of both tasks, the given number of times in all."""
    for module in ('mmdet.models', 'mmdet.datasets', 'mmseg.models', 'mmseg.datasets'):
        import_module(module)  # once for all of the forked processes
    rng = random.Random(seed)
    make_dataset(folder / 'scenes', 10, 64)
    whole, seconds = {}, {}
    for name in RUNS:
        began = time.monotonic()
        process = start(name, folder / 'scenes', folder / name, 0)
        wait(process)
        whole[name], seconds[name] = state(folder / name), time.monotonic() - began
        print(f'{name}: {seconds[name]:.0f} s without a kill', flush=True)
    killed, number = dict(writing=0, elsewhere=0), 0
    while sum(killed.values()) < kills:
        name, number = list(RUNS)[number % 2], number + 1
        work_dir, here = folder / f'{name}_{number}', 0
        while True:
            process = start(name, folder / 'scenes', work_dir, rng.choice((0, 2)))
            if sum(killed.values()) == kills:
                wait(process)
                break
            moment = kill_somewhere(process, work_dir, seconds[name], rng)
            if not moment:
                break
            killed[moment] += 1
            here += 1
        wrong = differences(state(work_dir), whole[name])
        if wrong:
            raise SystemExit(f'{work_dir.name}, killed {here} times, differs in {len(wrong)} places: {wrong[:5]}')
        print(f'{work_dir.name}: killed {here} times, ends with the same state', flush=True)
    print(f'{kills} kills survived, {killed["writing"]} of them while a checkpoint was being written')


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['kill'])
    parser.add_argument('--kills', type=int, default=100)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    print(f'in {folder}, which stays if a run fails', flush=True)
    kill(args.kills, args.seed, folder)
    shutil.rmtree(folder)


if __name__ == '__main__':
    main()
