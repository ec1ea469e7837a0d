"""What takes too long for the suite: does a training survive being killed, and does nothing grow under load?

python tests/soak.py kill --kills 100
python tests/soak.py load --minutes 20 --predictions 2000

kill: both tasks are trained on drawn scenes, with tiny networks, and killed with SIGKILL at random moments, many of
them while a checkpoint is being written, until they end. Each must end with the same state as a run that was never
killed.

load: both tasks are trained, each for half of the time and with two workers, and stopped with SIGTERM; then each
predicts half of the images, of many sizes. After a warm-up of a quarter, the memory of the main process and of its
workers may not grow by more than 2 %, nor the number of handles and processes at all; no process and no temporary file
may be left.
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
from math import inf
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import psutil
import torch
from helpers import differences

from mmiformer.datasets.shapes import make_dataset
from mmiformer.engine.runs import find_checkpoint, read_checkpoint

TESTS = Path(__file__).resolve().parent
TOOLS = TESTS.parent / 'tools'
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
ENDLESS = dict(
    tiny_sem_fpn=('train_cfg.max_iters=1000000', 'train_cfg.val_interval=100', 'default_hooks.checkpoint.interval=100'),
    tiny_mask_rcnn=('train_cfg.max_epochs=100000', 'train_cfg.val_interval=5', 'default_hooks.checkpoint.interval=5'),
)
LOADED = ('num_workers=2', 'persistent_workers=True')
LATEST = 'default_hooks.checkpoint.max_keep_ckpts=1'  # the hardest case: the last good one is the only one


def start(name: str, scenes: Path, work_dir: Path, workers: int) -> int:
    """Start or resume a run in a process, and process group, of its own; its id."""
    kind, *options = RUNS[name]
    command = [
        TOOLS / 'train.py',
        TESTS / 'data' / f'{name}.py',
        '--data-root',
        scenes / kind,
        '--work-dir',
        work_dir,
        '--resume',
    ]
    options = [*options, LATEST, f'train_dataloader.num_workers={workers}']
    child = os.fork()
    if child:
        os.setpgid(child, child)  # here too: it may be killed before it has begun
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        log = os.open(f'{work_dir}.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        seed = [] if find_checkpoint('auto', work_dir) else ['--seed', 3]
        sys.argv = [str(word) for word in (*command, *seed, '--cfg-options', *options)]
        runpy.run_path(str(TOOLS / 'train.py'), run_name='__main__')
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


class Load:
    """What the processes of a command take, noted five times a second.

    Attributes:
        main: Resident memory of the main process, MiB.
        worker: That of the largest worker, MiB; 0 where there is none.
        handles: Open files and sockets of all.
        processes: How many there are.
    """

    def __init__(self):
        self.main, self.worker, self.handles, self.processes = [], [], [], []

    def note(self, process: psutil.Process) -> None:
        """Note what a process and its children take now."""
        try:
            workers = process.children(recursive=True)
            memory, *others = [each.memory_info().rss / 2**20 for each in (process, *workers)]
            handles = sum(each.num_fds() for each in (process, *workers))
        except psutil.NoSuchProcess:  # it has just ended
            return
        for values, value in (
            (self.main, memory),
            (self.worker, max(others, default=0)),
            (self.handles, handles),
            (self.processes, 1 + len(workers)),
        ):
            values.append(value)

    def check(self, what: str) -> None:
        """Print the medians of the second and of the last quarter, and compare them."""
        grown = []
        for name, limit in (('main', 0.02), ('worker', 0.02), ('handles', 0), ('processes', 0)):
            values = getattr(self, name)
            if not max(values):  # no workers
                continue
            quarter = len(values) // 4
            early, late = median(values[quarter : 2 * quarter]), median(values[-quarter:])
            unit = ' MiB' if limit else ''
            print(f'{what}: {name} {early:.1f} -> {late:.1f}{unit} ({late - early:+.1f})', flush=True)
            if late > early * (1 + limit):
                grown.append(name)
        if grown:
            raise SystemExit(f'{what}: {", ".join(grown)} grew')


def run_and_watch(what: str, command: Sequence[object], folder: Path, result: Path, seconds: float = inf) -> None:
    """Run a command, until it ends or for some time, and check that it leaves nothing.

    What it takes is watched from its first result on, which is a file or folder.
    """
    temporary, load, began = folder / 'tmp', Load(), time.monotonic()
    temporary.mkdir(exist_ok=True)
    with Path(f'{folder}/{what.replace(" ", "_")}.log').open('w') as log:
        process = psutil.Popen(
            [sys.executable, *map(str, command)],
            stdout=log,
            stderr=log,
            env=os.environ | dict(TMPDIR=str(temporary), OMP_NUM_THREADS='1'),
            start_new_session=True,
        )
    while process.poll() is None and time.monotonic() - began < seconds:
        if result.exists():
            load.note(process)
        time.sleep(0.2)
    stopped = process.poll() is None
    if stopped:
        process.terminate()
    code = process.wait(120)
    if code != (128 + signal.SIGTERM if stopped else 0):
        raise SystemExit(f'{what} ended with {code}; see {log.name}')
    left = [*temporary.glob('pymp-*'), *(each for each in psutil.process_iter() if _session(each.pid) == process.pid)]
    if left:
        raise SystemExit(f'{what} left {left}')
    print(f'{what}: {(time.monotonic() - began) / 60:.1f} min', flush=True)
    load.check(what)


def _session(process: int) -> int | None:
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return None


def draw_inputs(folder: Path, number: int) -> None:
    """Draw images of 50 sizes, up to 256 pixels, each as often as is needed."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for k in range(number):
        if k < 50:
            pixels = rng.integers(0, 256, (*rng.integers(32, 257, 2), 3), np.uint8)
            cv2.imwrite(str(folder / f'{k}.png'), pixels)
        else:
            os.link(folder / f'{k % 50}.png', folder / f'{k}.png')


def load(minutes: float, predictions: int, folder: Path) -> None:
    """Train both tasks, for some minutes in all, and predict some images in all."""
    make_dataset(folder / 'scenes', 100, 64)
    draw_inputs(folder / 'inputs', predictions // len(RUNS))
    for name, (kind, *_) in RUNS.items():
        config, work_dir = TESTS / 'data' / f'{name}.py', folder / name
        loaders = [
            f'{loader}_dataloader.{option}'
            for loader in ('train', 'val')
            for option in LOADED  # workers that stay
        ]
        command = [TOOLS / 'train.py', config, '--data-root', folder / 'scenes' / kind, '--work-dir', work_dir]
        options = ['--seed', 3, '--cfg-options', LATEST, *ENDLESS[name], *loaders]
        run_and_watch(
            f'train {name}', [*command, *options], folder, work_dir / 'last_checkpoint', minutes / len(RUNS) * 60
        )
        checkpoint = find_checkpoint('auto', work_dir)
        print(f'train {name}: {read_checkpoint(checkpoint)["meta"]["iter"]} iterations')
        found = folder / f'{name}_found'
        command = [TOOLS / 'predict.py', config, checkpoint, folder / 'inputs', '--out', found]
        run_and_watch(f'predict {name}', command, folder, found / 'pictures')
        print(f'predict {name}: {len(list((folder / "inputs").iterdir()))} images')


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['kill', 'load'])
    parser.add_argument('--kills', type=int, default=100)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--minutes', type=float, default=20, help='of training under load')
    parser.add_argument('--predictions', type=int, default=2000)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    print(f'in {folder}, which stays if a run fails', flush=True)
    if args.what == 'kill':
        kill(args.kills, args.seed, folder)
    else:
        load(args.minutes, args.predictions, folder)
    shutil.rmtree(folder)


if __name__ == '__main__':
    main()
