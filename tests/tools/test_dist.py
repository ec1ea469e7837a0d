"""The command lines that start several processes: two on this machine, on the CPU."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from mmdet.datasets import CocoDataset

from mmiformer.datasets.shapes import make_dataset

from ..engine.test_launch import free_port
from .command import REPO, run
from .made_data import make_ade, make_coco
from .test_evaluation import oracle_config
from .test_train_and_test import MASK_RCNN, SEM_FPN, SMALL_ADE, SMALL_COCO, load, scalars

UNSET = ('COCO_ROOT', 'ADE_ROOT', 'LOCAL_RANK', 'NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT')
UNSET += ('GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK', 'SRUN_ARGS', 'PYTHONPATH')
# A torch that is built for GPUs runs on the CPU if it is told to.
ON_CPU = ('env_cfg.dist_cfg.backend=gloo',) if torch.version.cuda else ()


def launch(script: Path | str, *arguments: object, cwd: Path, status: int = 0, **variables: str) -> str:
    """Run a script of `tools/` and return what it printed; its exit status must be `status`."""
    env = {key: value for key, value in os.environ.items() if key not in UNSET}
    env.update(dict(PYTHON=sys.executable, OMP_NUM_THREADS='1') | variables)
    command = ['bash', str(REPO / 'tools' / script), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
    )
    assert done.returncode == status, f'{" ".join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}'
    return done.stdout


def evaluate(folder: Path, parent: str, model: str, data: str, images: int) -> tuple[dict, dict]:
    """Figures and dumped files of one process and of two, of whose samplers one counts an image again."""
    files = oracle_config(folder, parent, model)
    reports = []
    for name in ('one', 'two'):
        options = ('--data-root', data, '--out', f'{name}.json', '--dump', name)
        options += ('--cfg-options', 'test_dataloader.num_workers=0', 'default_hooks.logger.interval=1', *ON_CPU)
        if name == 'one':
            printed = run('test', *files, *options, cwd=folder)
        else:
            printed = launch('dist_test.sh', *files, 2, *options, cwd=folder)
        steps = images if name == 'one' else (images + 1) // 2
        assert images % 2 and f'(test) [{steps}/{steps}]' in printed
        reports.append(json.loads((folder / f'{name}.json').read_text()))
    assert reports[0]['images'] == images and reports[0] == reports[1]
    dumps = [{path.name: path.read_bytes() for path in (folder / name).iterdir()} for name in ('one', 'two')]
    return dumps[0], dumps[1]


def test_detection_is_evaluated_as_by_one_process(tmp_path):
    make_coco(tmp_path / 'coco', list(CocoDataset.METAINFO['classes']), val=5)
    one, two = evaluate(tmp_path, 'mask_rcnn/iformer_t_1x.py', 'OracleDetector', 'coco', 5)
    assert sorted(one) == sorted(two) == ['results.bbox.json', 'results.segm.json']
    for name in one:
        assert json.loads(one[name]) == json.loads(two[name]) and len(json.loads(one[name])) == 5 * 6


def test_segmentation_is_evaluated_as_by_one_process(tmp_path):
    make_ade(tmp_path / 'ade', val=3)
    one, two = evaluate(tmp_path, 'sem_fpn/iformer_t_40k.py', 'OracleSegmentor', 'ade', 3)
    assert one == two and len(one) == 3


@pytest.mark.parametrize(
    ('config', 'data', 'small', 'length'),
    [
        (MASK_RCNN, 'coco', SMALL_COCO, ('max_epochs=1', 'val_interval=2')),
        (SEM_FPN, 'ade', SMALL_ADE, ('max_iters=2', 'val_interval=4')),
    ],
    ids=['mask_rcnn', 'sem_fpn'],
)
def test_whole_model_trains(config, data, small, length, tmp_path):
    if data == 'coco':
        make_coco(tmp_path / data, list(CocoDataset.METAINFO['classes']), train=8)
    else:
        make_ade(tmp_path / data)
    options = ('--data-root', data, '--no-pretrained', '--work-dir', 'run', '--seed', 3)
    if config is SEM_FPN:
        options += ('--auto-scale-lr',)
    options += ('--cfg-options', *small, 'default_hooks.checkpoint.save_optimizer=False', *ON_CPU)
    printed = launch('dist_train.sh', config, 2, *options, *(f'train_cfg.{item}' for item in length), cwd=tmp_path)
    note = 'this run has 4 (2 processes x 2 images)' if config is MASK_RCNN else 'SyncBN does not run on the CPU'
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert printed.count(note) == log.read_text().count(note) == 1
    # Two steps, since DistributedDataParallel raises in the second if the first left a parameter without gradient.
    steps = [line for line in scalars(tmp_path / 'run') if 'loss' in line]
    assert len(steps) == 2 and np.isfinite([step['loss'] for step in steps]).all()
    if config is SEM_FPN:
        assert steps[0]['lr'] == pytest.approx(2e-4 * 4 / 32)  # the first of a schedule without warm-up
    (file,) = (tmp_path / 'run').glob('*.pth')
    checkpoint = load(file)
    assert checkpoint['meta']['iter'] == 2 and checkpoint['meta']['seed'] == 3
    assert not any(key.startswith('module.') for key in checkpoint['state_dict'])


def test_error_of_a_worker_is_in_the_last_lines(tmp_path):
    printed = launch('dist_test.sh', 'nosuch.py', 'nosuch.pth', 1, cwd=tmp_path, status=1)
    assert 'error: there is no config nosuch.py' in '\n'.join(printed.splitlines()[-4:])


def launch_pair(how: str, processes: int, cwd: Path, status: int = 0, **variables: str) -> str:
    """Run `pair.py` in the number of processes that this machine shall have of the two."""
    # A script for each machine: bash of one must not read what the other is writing.
    tool = cwd / f'pair_{variables.get("NODE_RANK", 0)}.sh'
    tool.write_text(f'source {REPO}/tools/launch.sh\nwith_torchrun {processes} ../tests/tools/pair.py {how}\n')
    return launch(tool, cwd=cwd, status=status, **variables)


@pytest.mark.parametrize(
    ('how', 'said'),
    [('killed', 'SIGKILL'), ('interrupted', 'got signal: 2'), ('memory', "can't allocate memory.*Reduce the batch")],
)
def test_no_process_is_left_waiting(how, said, tmp_path):
    printed = launch_pair(how, 2, tmp_path, status=1)
    assert 'process 0 of 2 is at work' in printed and 'process 1 of 2 is at work' in printed
    assert re.search(said, printed, re.DOTALL)


@pytest.mark.parametrize(
    ('how', 'said'),
    [
        ('finished', 'process 0 of 2 is at work'),
        ('killed', 'error: another process of this run is gone: .*--resume'),
        ('frozen', 'error: another process of this run does not answer: Timed out waiting 8000ms.*dist_cfg.timeout'),
    ],
)
def test_two_machines(how, said, tmp_path):
    """What torchrun of one machine does not see of the other."""
    variables = dict(NNODES='2', MASTER_ADDR='127.0.0.1', PORT=str(free_port()))
    status = int(how != 'finished')
    with ThreadPoolExecutor() as machines:
        waiting = [
            machines.submit(launch_pair, how, 1, tmp_path, status, NODE_RANK=str(rank), **variables) for rank in (0, 1)
        ]
    first, second = (machine.result() for machine in waiting)
    assert re.search(said, first) and 'pair.py", line' not in first  # torchrun has a traceback of its own
    assert 'process 1 of 2 is at work' in second


def test_a_stopped_training_of_two_processes(tmp_path):
    """Stopped as Slurm does it: all processes get the signal, and torchrun passes it on."""
    make_dataset(tmp_path / 'scenes', 10, 64)
    arguments = [REPO / 'tests/data/tiny_sem_fpn.py', 2, '--data-root', 'scenes/ade', '--work-dir', 'my run']
    arguments += ['--cfg-options', 'train_cfg.max_iters=100000', 'default_hooks.checkpoint.interval=100000']
    arguments += ['train_dataloader.num_workers=1', 'train_dataloader.persistent_workers=True', *ON_CPU]
    env = {key: value for key, value in os.environ.items() if key not in UNSET}
    env.update(PYTHON=sys.executable, OMP_NUM_THREADS='1')
    command = list(map(str, (REPO / 'tools/dist_train.sh', *arguments)))
    with (tmp_path / 'log').open('w') as log:
        torchrun = psutil.Popen(
            ['bash', *command], cwd=tmp_path, env=env, stdout=log, stderr=log, start_new_session=True
        )
    while 'Iter(train) [     3/' not in (tmp_path / 'log').read_text() and torchrun.poll() is None:
        time.sleep(0.1)
    for process in (*torchrun.children(recursive=True), torchrun):
        process.terminate()
    assert torchrun.wait(60)
    printed = (tmp_path / 'log').read_text()
    assert shlex.join([f'PYTHON={sys.executable}', *command]).replace("'my run'", r'my\ run') + ' --resume\n' in printed
    assert printed.count('stopped: ') == 1, printed[-3000:]
    assert [path.name for path in (tmp_path / 'my run').glob('*.pth')] == ['interrupted.pth']


@pytest.mark.parametrize(
    ('script', 'arguments', 'variables', 'message'),
    [
        ('dist_train.sh', ['config.py'], {}, 'usage: dist_train.sh CONFIG GPUS'),
        (
            'dist_train.sh',
            [8, 'config.py'],
            {},
            "GPUS, the number of GPUs of this machine, must be a positive integer, not 'config.py'",
        ),
        ('dist_train.sh', ['config.py', 0], {}, "must be a positive integer, not '0'"),
        ('dist_test.sh', ['config.py', 8], {}, 'usage: dist_test.sh CONFIG CHECKPOINT GPUS'),
        ('dist_test.sh', ['config.py', 8, 'x.pth'], {}, "not 'x.pth'"),
        (
            'dist_train.sh',
            ['config.py', 8],
            dict(NNODES='two'),
            "NNODES, the number of machines, must be a positive integer, not 'two'",
        ),
        ('dist_train.sh', ['config.py', 8], dict(NNODES='2'), 'a NODE_RANK from 0 to 1'),
        ('dist_train.sh', ['config.py', 8], dict(NNODES='2', NODE_RANK='2'), "a NODE_RANK from 0 to 1, not '2'"),
        ('dist_train.sh', ['config.py', 8], dict(NNODES='2', NODE_RANK='0'), 'MASTER_ADDR, the address of machine 0'),
        ('dist_train.sh', ['config.py', 8], dict(PYTHON='nosuch'), "PYTHON='nosuch' is not a Python with torch"),
        ('slurm_train.sh', ['gpu', 'job', 'config.py'], {}, 'CONFIG WORK_DIR'),
        ('slurm_train.sh', ['gpu', 'job', 'config.py', 'run'], dict(GPUS='12'), 'not a multiple of GPUS_PER_NODE=8'),
        (
            'slurm_test.sh',
            ['gpu', 'job', 'config.py', 'x.pth'],
            dict(GPUS='x'),
            "GPUs over all machines, must be a positive integer, not 'x'",
        ),
        ('slurm_test.sh', ['gpu', 'job', 'config.py', 'x.pth'], {}, 'srun not found'),
    ],
)
def test_mistakes(script, arguments, variables, message, tmp_path):
    printed = launch(script, *arguments, cwd=tmp_path, status=2, **variables)
    assert printed.startswith(f'{script}: error: ') and message in printed and len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ('script', 'arguments', 'variables', 'asked', 'tool'),
    [
        (
            'slurm_train.sh',
            ['gpu', 'job', 'config.py', 'my run', '--amp'],
            dict(GPUS='4', SRUN_ARGS='--time 10 --exclusive'),
            '--gres gpu:4 --ntasks 4 --ntasks-per-node 4 --cpus-per-task 5 --kill-on-bad-exit=1 --time 10 --exclusive',
            ['train.py', 'config.py', '--work-dir', 'my run', '--amp'],
        ),
        (
            'slurm_test.sh',
            ['gpu', 'job', 'config.py', 'x.pth', '--out', 'a.json'],
            dict(GPUS='16', CPUS_PER_TASK='3', PORT='31000'),
            '--gres gpu:8 --ntasks 16 --ntasks-per-node 8 --cpus-per-task 3 --kill-on-bad-exit=1',
            ['test.py', 'config.py', 'x.pth', '--out', 'a.json'],
        ),
    ],
)
def test_slurm_is_asked_for_the_gpus(script, arguments, variables, asked, tool, tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$MASTER_PORT" "$PYTHONPATH" "$@"\n')
    srun.chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    said, *printed = launch(script, *arguments, cwd=tmp_path, PATH=path, **variables).splitlines()
    if script == 'slurm_train.sh':
        assert said == (
            f'If this job ends early, go on with: PYTHON={sys.executable} GPUS=4 SRUN_ARGS=--time\\ 10\\ --exclusive '
            f'{REPO}/tools/{script} gpu job config.py my\\ run --amp --resume'
        )
    else:
        printed = [said, *printed]
    assert printed[:2] == [variables.get('PORT', '29500'), str(REPO)]
    name, *rest = tool
    assert printed[2:] == [
        *('--partition', 'gpu', '--job-name', 'job'),
        *asked.split(),
        *(sys.executable, '-u', str(REPO / 'tools' / name), *rest, '--launcher', 'slurm'),
    ]
