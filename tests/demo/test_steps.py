"""Steps in processes of their own: what is shown of them, how long they took, how they fail and stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmiformer.demo.steps import IN_ALL, Step, StepFailed, Steps, brief

from ..tools.command import REPO


def step(folder: Path, title: str, text: str, *arguments: object) -> Step:
    path = folder / 'script.py'
    path.write_text(text)
    return Step(title, path, arguments)


def scripts(folder: Path, *texts: str) -> list[Step]:
    steps = []
    for number, text in enumerate(texts):
        (folder / f'{number}').mkdir()
        steps.append(step(folder / f'{number}', f'step {number}', text))
    return steps


def test_output_and_time_are_kept(tmp_path, capsys):
    a = step(tmp_path, 'do A, then B', 'import sys, time; print("said", *sys.argv[1:]); time.sleep(0.5)', 'this', 7)
    Steps(tmp_path, 2).run(a)
    assert (tmp_path / 'logs' / 'do_a_then_b.log').read_text() == 'said this 7\n'
    assert 'do A, then B' in capsys.readouterr().out

    steps = Steps(tmp_path, 2)  # as in a later call, which adds to the time
    once = steps.times['do A, then B']
    assert 0.5 <= once < 30
    steps.run(a)
    assert (tmp_path / 'logs' / 'do_a_then_b.log').read_text() == 'said this 7\nsaid this 7\n'
    times = json.loads((tmp_path / 'times.json').read_text())
    assert once + 0.5 <= times['do A, then B'] <= times[IN_ALL] and times == steps.times


def test_steps_at_once(tmp_path):
    """They share the threads and the time, which counts once in all."""
    wait = (  # until the other one is there too
        'import os, pathlib, time\n'
        'own = pathlib.Path(__file__).parent; other = own.parent / str(1 - int(own.name))\n'
        '(own / "here").touch()\n'
        'while not (other / "here").exists(): time.sleep(0.05)\n'
        'print(os.environ.get("OMP_NUM_THREADS")); time.sleep(1)'
    )
    steps = Steps(tmp_path, threads=6)
    both = scripts(tmp_path, wait, wait)
    steps.run(*both)
    assert [(tmp_path / f'logs/step_{number}.log').read_text() for number in (0, 1)] == ['3\n', '3\n']
    assert 1 <= max(steps.times['step 0'], steps.times['step 1']) <= steps.times[IN_ALL]
    assert steps.times[IN_ALL] < steps.times['step 0'] + steps.times['step 1']

    steps.run(both[0])  # one alone has all of them
    assert (tmp_path / 'logs/step_0.log').read_text() == '3\n6\n'
    assert list(steps.times) == ['step 0', 'step 1', IN_ALL]


def test_failure_shows_the_end_of_the_output(tmp_path):
    fail = step(tmp_path, 'fail', 'for i in range(50): print("line", i)\nraise SystemExit(4)')
    with pytest.raises(StepFailed) as caught:
        Steps(tmp_path, 2).run(fail)
    message = str(caught.value)
    assert 'fail: script.py ended with status 4' in message and str(tmp_path / 'logs/fail.log') in message
    assert 'line 49' in message and 'line 35' in message and 'line 34' not in message


def test_failure_stops_the_others(tmp_path):
    tidy = (
        'import time, pathlib\n'
        'try:\n    pathlib.Path(__file__).with_name("began").touch(); time.sleep(60)\n'
        'except KeyboardInterrupt:\n    print("tidied"); raise SystemExit(130)'
    )
    fail = (
        'import time, pathlib\n'
        'while not (pathlib.Path(__file__).parents[1] / "0/began").exists(): time.sleep(0.05)\n'
        'raise SystemExit("no more")'
    )
    with pytest.raises(StepFailed, match='step 1: script.py ended with status 1') as caught:
        Steps(tmp_path, 2).run(*scripts(tmp_path, tidy, fail))
    assert 'no more' in str(caught.value)
    assert (tmp_path / 'logs/step_0.log').read_text() == 'tidied\n'
    assert json.loads((tmp_path / 'times.json').read_text())['step 0'] < 60


@pytest.mark.parametrize('ctrl_c', [True, False])
def test_a_signal_reaches_the_step_which_is_waited_for(tmp_path, ctrl_c):
    """Ctrl-C is a signal to all processes of the terminal; SIGTERM comes to one alone."""
    inner = tmp_path / 'inner.py'
    inner.write_text(
        'import time, pathlib\n'
        'try:\n    pathlib.Path("began").touch(); time.sleep(60)\n'
        'except KeyboardInterrupt:\n    time.sleep(1); pathlib.Path("tidied").touch()\n',
    )
    code = (
        'import signal, sys; from pathlib import Path; from mmiformer.demo.steps import Step, Steps, terminate\n'
        'signal.signal(signal.SIGTERM, terminate)\n'
        'try:\n    Steps(Path("."), 2).run(Step("long", Path(sys.argv[1])))\n'
        'except KeyboardInterrupt:\n    print("tidied:", Path("tidied").exists())'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code, str(inner)],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(REPO)),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / 'began').exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT) if ctrl_c else process.terminate()
    assert 'tidied: True' in process.communicate(timeout=60)[0]
    assert json.loads((tmp_path / 'times.json').read_text())['long'] >= 1


@pytest.mark.parametrize(
    ('line', 'told'),
    [
        (
            '11/22 12:23:52 - mmengine - INFO - Iter(train) [ 10/500]  base_lr: 1.9e-04 lr: 1.9e-04  eta: 0:03:05  '
            'time: 0.5  data_time: 0.1  grad_norm: 5.9  loss: 1.6160  decode.loss_ce: 1.6160',
            'training, 10 of 500, loss 1.6160, 0:03:05 left',
        ),
        (
            '11/22 12:23:52 - mmengine - INFO - Epoch(train)  [3][20/30]  lr: 1e-3  eta: 0:01:00  time: 0.6  loss: 2.5',
            'training, epoch 3, 20 of 30, loss 2.5, 0:01:00 left',
        ),
        (
            '11/22 12:23:52 - mmengine - INFO - Epoch(val)  [3][50/60]    eta: 0:00:04  time: 0.1  data_time: 0.0',
            'evaluating, epoch 3, 50 of 60, 0:00:04 left',
        ),
        (
            '11/22 12:23:52 - mmengine - INFO - Iter(test) [60/60]    mIoU: 83.0  aAcc: 97.0',
            'evaluating, 60 of 60',
        ),
        ('11/22 12:23:52 - mmengine - INFO - Saving checkpoint at 3 epochs', None),
    ],
)
def test_brief(line, told):
    assert brief(line) == told
