"""Steps in processes of their own: what is kept and shown of them, how they fail, how they are ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmiformer.engine import jobs
from mmiformer.engine.jobs import TOTAL, Step, StepFailed, Steps, brief

from ..tools.command import REPO

# Programs, in the folder of the test.
TIDY = (  # shows that it has begun, and tidies up when it is told to end
    'import pathlib, signal, sys, time\n'
    'signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n'
    'try:\n    pathlib.Path("began").touch(); time.sleep(60)\n'
    'finally:\n    time.sleep(1); pathlib.Path("tidied").touch()\n'
)
WAIT = 'import pathlib, time\nwhile not pathlib.Path("began").exists(): time.sleep(0.05)\n'


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def python(name: str, code: str, *arguments: object, result: str = '.') -> Step:
    return Step(name, [sys.executable, '-c', code, *arguments], Path(result))


def log(name: str) -> str:
    return Path('logs', f'{name}.log').read_text()


def test_output_and_time_are_kept(capsys):
    code = 'import sys, time; print("said", *sys.argv[1:]); time.sleep(0.5)'
    step = python('do A, then B', code, 'this', 7, result='result')
    assert Steps(Path()).run(step)
    assert log('do_a_then_b') == 'said this 7\n'
    assert 'do A, then B' in capsys.readouterr().out

    steps = Steps(Path())  # as in a later call, which runs it again since there is no result, and adds to the time
    once = steps.seconds['do A, then B']
    assert 0.5 <= once < 30
    assert steps.run(step)
    assert log('do_a_then_b') == 'said this 7\nsaid this 7\n'
    seconds = json.loads(Path('steps.json').read_text())['seconds']
    assert once + 0.5 <= seconds['do A, then B'] <= seconds[TOTAL] and seconds == steps.seconds


def test_what_has_finished_is_not_run_again():
    """A result alone is not enough: it may be half of one."""
    code = 'import pathlib, sys; pathlib.Path("result").touch(); print("done"); sys.exit(int(sys.argv[1]))'
    with pytest.raises(StepFailed):
        Steps(Path()).run(python('work', code, 1, result='result'))
    assert Path('result').exists()
    assert Steps(Path()).run(python('work', code, 0, result='result'))
    assert not Steps(Path()).run(python('work', code, 0, result='result'))
    assert log('work') == 'done\ndone\n'
    Path('result').unlink()
    with pytest.raises(StepFailed):
        Steps(Path()).run(python('work', code, 1, result='result'))
    assert Steps(Path()).run(python('work', code, 0, result='result'))
    assert not Steps(Path()).run(python('work', code, 0, result='result'))


def test_steps_at_once(monkeypatch):
    """They share the threads and the time, which counts once in all."""
    monkeypatch.setattr(jobs.torch, 'get_num_threads', lambda: 6)
    code = (  # until the other one is there too
        'import os, pathlib, sys, time\n'
        'own, other = sys.argv[1:]\n'
        'pathlib.Path(own).touch()\n'
        'while not pathlib.Path(other).exists(): time.sleep(0.05)\n'
        'print(os.environ.get("OMP_NUM_THREADS")); time.sleep(1)'
    )
    steps = Steps(Path())
    steps.run(python('one', code, 'a', 'b'), python('two', code, 'b', 'a'))
    assert log('one') == log('two') == '3\n'
    assert 1 <= max(steps.seconds['one'], steps.seconds['two']) <= steps.seconds[TOTAL]
    assert steps.seconds[TOTAL] < steps.seconds['one'] + steps.seconds['two']

    steps.run(python('alone', code, 'a', 'b'))
    assert log('alone') == '6\n'
    assert list(steps.seconds) == ['one', 'two', 'alone', TOTAL]


def test_a_step_may_have_met_broken_data(capsys):
    """Then it is done, too."""
    assert Steps(Path()).run(python('work', 'raise SystemExit(3)'))
    assert not Steps(Path()).run(python('work', 'raise SystemExit(3)'))
    assert re.search(r'work: \d+ s, but some of its data is broken: see logs/work.log', capsys.readouterr().out)


def test_failure_shows_the_end_of_the_output():
    with pytest.raises(StepFailed) as caught:
        Steps(Path()).run(python('fail', 'for i in range(50): print("line", i)\nraise SystemExit(4)'))
    message = str(caught.value)
    assert 'fail ended with status 4' in message and str(Path('logs/fail.log')) in message
    assert 'line 49' in message and 'line 35' in message and 'line 34' not in message


def test_failure_names_the_signal():
    with pytest.raises(StepFailed, match='out of memory was killed by SIGKILL'):
        Steps(Path()).run(python('out of memory', 'import os; os.kill(os.getpid(), 9)'))


def test_failure_ends_the_others():
    fail = python('fail', f'{WAIT}raise SystemExit("no more")')
    with pytest.raises(StepFailed, match='fail ended with status 1') as caught:
        Steps(Path()).run(python('other', TIDY), fail)
    assert 'no more' in str(caught.value)
    assert Path('tidied').exists()
    assert json.loads(Path('steps.json').read_text())['seconds']['other'] < 60


def test_a_step_that_does_not_end_is_killed_with_its_children(monkeypatch):
    monkeypatch.setattr(jobs, 'PATIENCE', 0.5)
    code = (
        'import os, signal, subprocess, sys, time\n'
        'signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\n'
        'open("child", "w").write(str(child.pid)); open("began", "w"); child.wait()'
    )
    with pytest.raises(StepFailed):
        Steps(Path()).run(python('deaf', code), python('fail', f'{WAIT}raise SystemExit(1)'))
    child = int(Path('child').read_text())
    deadline = time.monotonic() + 30
    while Path(f'/proc/{child}/cmdline').exists() and Path(f'/proc/{child}/cmdline').read_text():
        assert time.monotonic() < deadline, 'a child of the step is still there'
        time.sleep(0.05)


def start(code: str, ignored: tuple[int, ...] = ()) -> subprocess.Popen:
    """Run a step in a process of its own, and return that process once the step has begun."""

    def ignore() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    program = (
        'import sys; from pathlib import Path; from mmiformer.engine.jobs import Step, Steps\n'
        'try:\n    Steps(Path()).run(Step("long", [sys.executable, "-c", sys.argv[1]], Path()))\n'
        'except KeyboardInterrupt:\n    print("tidied:", Path("tidied").exists())'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program, code],
        env=dict(os.environ, PYTHONPATH=str(REPO)),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=ignore,
    )
    deadline = time.monotonic() + 120
    while not Path('began').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_step_which_is_waited_for(number):
    """Ctrl-C is a signal to all processes of the terminal; SIGTERM comes to one alone, of Slurm perhaps twice."""
    process = start(TIDY)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    if number == signal.SIGTERM:
        time.sleep(0.3)
        process.terminate()
    assert 'tidied: True' in process.communicate(timeout=60)[0]
    assert json.loads(Path('steps.json').read_text())['seconds']['long'] >= 1


def test_ignored_signals_stay_ignored():
    """As in the background of a shell, or with nohup; SIGTERM ends the step nevertheless."""
    process = start(TIDY, ignored=(signal.SIGINT, signal.SIGHUP))
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.terminate()
    assert 'tidied: True' in process.communicate(timeout=60)[0]


@pytest.mark.parametrize(
    ('line', 'told'),
    [
        (
            '11/22 12:23:52 - mmengine - INFO - Iter(train) [ 10/500]  base_lr: 1.9e-04 lr: 1.9e-04  eta: 0:03:05  '
            'time: 0.5  data_time: 0.1  grad_norm: 5.9  loss: 1.6160  decode.loss_ce: 1.6160',
            'Iter(train) [ 10/500] eta: 0:03:05 loss: 1.6160',
        ),
        (
            '11/22 12:23:52 - mmengine - INFO - Epoch(train)  [3][20/30]  lr: 1e-3  eta: 0:01:00  time: 0.6  loss: 2.5',
            'Epoch(train)  [3][20/30] eta: 0:01:00 loss: 2.5',
        ),
        (
            '11/22 12:23:52 - mmengine - INFO - Epoch(val)  [3][50/60]    eta: 0:00:04  time: 0.1  data_time: 0.0',
            'Epoch(val)  [3][50/60] eta: 0:00:04',
        ),
        ('11/22 12:23:52 - mmengine - INFO - Iter(test) [60/60]    mIoU: 83.0  aAcc: 97.0', 'Iter(test) [60/60]'),
        ('11/22 12:23:52 - mmengine - INFO - Saving checkpoint at 3 epochs', ''),
    ],
)
def test_brief(line, told):
    assert brief(line) == told
