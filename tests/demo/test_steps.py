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

from mmiformer.demo.steps import StepFailed, Steps, brief

from ..tools.command import REPO


def script(folder: Path, text: str) -> Path:
    path = folder / 'script.py'
    path.write_text(text)
    return path


def test_output_and_time_are_kept(tmp_path, capsys):
    path = script(tmp_path, 'import sys, time; print("said", *sys.argv[1:]); time.sleep(0.5)')
    Steps(tmp_path).run('do A, then B', path, 'this', 7)
    assert (tmp_path / 'logs' / 'do_a_then_b.log').read_text() == 'said this 7\n'
    assert 'do A, then B' in capsys.readouterr().out

    steps = Steps(tmp_path)  # as in a later call, which adds to the time
    once = steps.times['do A, then B']
    assert 0.5 <= once < 30
    steps.run('do A, then B', path, 'again')
    assert (tmp_path / 'logs' / 'do_a_then_b.log').read_text() == 'said this 7\nsaid again\n'
    assert (
        once + 0.5 <= json.loads((tmp_path / 'times.json').read_text())['do A, then B'] == steps.times['do A, then B']
    )


def test_failure_shows_the_end_of_the_output(tmp_path):
    path = script(tmp_path, 'for i in range(50): print("line", i)\nraise SystemExit(4)')
    with pytest.raises(StepFailed) as caught:
        Steps(tmp_path).run('fail', path)
    message = str(caught.value)
    assert 'fail: script.py ended with status 4' in message and str(tmp_path / 'logs/fail.log') in message
    assert 'line 49' in message and 'line 35' in message and 'line 34' not in message


def test_interrupt_reaches_the_step_and_waits_for_it(tmp_path):
    """Ctrl-C is a signal to all processes of the terminal."""
    inner = script(
        tmp_path,
        'import time, pathlib\n'
        'try:\n    pathlib.Path("began").touch(); time.sleep(60)\n'
        'except KeyboardInterrupt:\n    time.sleep(1); pathlib.Path("tidied").touch()\n',
    )
    code = (
        'import sys; from pathlib import Path; from mmiformer.demo.steps import Steps\n'
        'try:\n    Steps(Path(".")).run("long", Path(sys.argv[1]))\n'
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
    os.killpg(process.pid, signal.SIGINT)
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
