"""The set-up script, as far as it can be seen without installing anything."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = dict(version=[3, 11], path=sys.executable, venv=True, headers=True)


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script, for a checkout in a temporary folder."""
    module = load('setup_env')
    (tmp_path / 'pins.txt').write_text('torch==2.13.0\nonedl-mmcv==2.3.6\n')
    for name, value in dict(
        ROOT=tmp_path,
        VENV=tmp_path / '.venv',
        VENV_PYTHON=tmp_path / '.venv' / 'bin' / 'python',
        STATE=tmp_path / '.venv' / 'setup.json',
        INPUTS=(tmp_path / 'pins.txt',),
    ).items():
        monkeypatch.setattr(module, name, value)
    # Default arguments were bound to the real checkout.
    monkeypatch.setattr(module.read_state, '__defaults__', (module.STATE,))
    monkeypatch.setattr(module.write_state, '__defaults__', (module.STATE,))
    monkeypatch.setattr(module.fingerprint, '__defaults__', (module.INPUTS,))
    return module


def fake_python(path: Path, body: str) -> str:
    path.write_text(f'#!/bin/sh\n{body}\n')
    path.chmod(0o755)
    return str(path)


# ---- small readers
def test_pins_are_read_from_the_requirements(script, tmp_path):
    assert script.pinned('onedl-mmcv') == '2.3.6'
    with pytest.raises(script.SetupError, match='torchvision==VERSION'):
        script.pinned('torchvision', tmp_path / 'pins.txt')


def test_nvcc_release(script):
    text = 'nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 12.8, V12.8.93\n'
    assert script.parse_nvcc(text) == '12.8'
    assert script.parse_nvcc('nvcc fatal: no such file') == ''


def test_progress_of_a_build_log(script):
    assert script.compiled('[notice] pip\n  [1/78] c++ a\n note [9/9]\n  [12/78] c++ b\n warning: x\n') == '[12/78] '
    assert script.compiled('Collecting onedl-mmcv\n') == ''


@pytest.mark.parametrize(('seconds', 'text'), [(0.4, '0 s'), (59.4, '59 s'), (60, '1 min 00 s'), (754, '12 min 34 s')])
def test_clock(script, seconds, text):
    assert script.clock(seconds) == text


def test_jobs(script, monkeypatch):
    monkeypatch.setenv('MAX_JOBS', '3')
    assert script.jobs() == 3
    monkeypatch.setenv('MAX_JOBS', '')
    assert 1 <= script.jobs() <= os.cpu_count()


def test_unreachable_index_is_found_out_quickly(script):
    start = time.monotonic()
    assert not script.reachable('http://127.0.0.1:9/whl/cpu')
    assert time.monotonic() - start < 6


# ---- what the machine lacks
@pytest.mark.parametrize(
    ('answer', 'message'),
    [
        ('exit 3', 'not a working Python 3'),
        (json.dumps({**PYTHON, 'version': [3, 9], 'path': '/old'}), '/old is Python 3.9; the stack needs 3.10 to 3.13'),
        (json.dumps({**PYTHON, 'version': [3, 14]}), 'is Python 3.14'),
        (json.dumps({**PYTHON, 'venv': False}), 'apt install python3.11-venv'),
    ],
)
def test_unfit_interpreter(script, tmp_path, answer, message):
    body = answer if answer.startswith('exit') else f"echo '{answer}'"
    with pytest.raises(script.SetupError, match=message):
        script.inspect_python(fake_python(tmp_path / 'python', body))


def test_missing_interpreter(script):
    with pytest.raises(script.SetupError, match="no interpreter '/no/such/python'.*PYTHON="):
        script.inspect_python('/no/such/python')


def test_fit_interpreter(script):
    found = script.inspect_python(sys.executable)
    assert tuple(found['version']) == sys.version_info[:2]
    assert Path(found['path']).exists() and not found['path'].startswith(str(ROOT / '.venv'))


def test_missing_compilers(script, monkeypatch):
    monkeypatch.setenv('CXX', sys.executable)
    monkeypatch.setattr(script, 'nvcc_release', lambda: '')
    script.check_compilers('cpu', headers=True)
    with pytest.raises(script.SetupError, match='python3-dev'):
        script.check_compilers('cpu', headers=False)
    with pytest.raises(script.SetupError, match='nvcc.*DEVICE=cpu'):
        script.check_compilers('cuda', headers=True)
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(script.SetupError, match='no-such-compiler.*FIND_LINKS'):
        script.check_compilers('cpu', headers=True)


def test_full_disk_is_told_before_anything_is_made(script, monkeypatch):
    monkeypatch.setattr(script, 'FREE_GB', {'cpu': 10**9})
    with pytest.raises(script.SetupError, match='1000000000 GB are needed'):
        script.prepare_folder({}, dict(device='cpu', version='3.11'))
    assert not script.VENV.exists()


# ---- running a step
def test_step_that_fails_shows_its_last_lines_and_how_to_go_on(script):
    script.VENV.mkdir()
    with pytest.raises(script.SetupError) as caught:
        script.must_run('torch', ['sh', '-c', 'seq 100; exit 7'], 'Go on so.')
    text = str(caught.value)
    assert "'torch' failed with status 7" in text and str(script.VENV / 'setup-torch.log') in text
    assert '    86\n' in text and '    85\n' not in text and text.endswith('    100\nGo on so.')


def test_step_that_is_stopped_ends_all_it_has_started(script, monkeypatch):
    script.VENV.mkdir()
    child = script.VENV / 'child'
    command = ['sh', '-c', f'sleep 600 & echo $! > {child}.tmp; mv {child}.tmp {child}; wait']

    def stop(*_):
        if child.exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    monkeypatch.setattr(script, 'environment', lambda: dict(os.environ))
    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            script.run('compile', command)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    stat = Path(f'/proc/{child.read_text().strip()}/stat')
    deadline = time.monotonic() + 60  # a killed process is gone when the kernel comes to it
    while stat.exists() and stat.read_text().split()[2] != 'Z':
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_settings_of_pip_are_kept_and_added_to(script, monkeypatch):
    monkeypatch.setenv('PIP_FIND_LINKS', '/own/wheels')
    monkeypatch.setenv('PYTHONPATH', '/elsewhere')
    assert script.environment()['PIP_FIND_LINKS'] == '/own/wheels'
    assert 'PYTHONPATH' not in script.environment()
    command = script.Setup(PYTHON, 'cpu', '', '/a /b').pip('install', 'torch')
    assert command[1:4] == ['-m', 'pip', 'install'] and command[-1] == 'torch'
    assert [command[i + 1] for i, part in enumerate(command) if part == '--find-links'] == ['/a', '/b']


# ---- the state
def wanted(script, **changes) -> dict:
    state = dict(root=str(script.ROOT), python=sys.executable, version='3.11', device='cpu', torch_index='')
    return {**state, 'inputs': script.fingerprint(), **changes}


def test_state_is_written_and_read(script):
    script.VENV.mkdir()
    assert script.read_state() == {}
    script.write_state(wanted(script))
    assert script.read_state() == wanted(script)
    script.STATE.write_text('{"root": ')
    assert script.read_state() == {}


def test_fingerprint_follows_the_requirements(script):
    before = script.fingerprint()
    assert before == script.fingerprint()
    script.INPUTS[0].write_text('torch==2.14.0\n')
    assert before != script.fingerprint()


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        (dict(), ''),
        (dict(inputs='new'), ''),
        (dict(device='cuda'), 'DEVICE was cpu and is cuda'),
        (dict(version='3.12'), 'Python was 3.11 and is 3.12'),
        (dict(torch_index='https://x'), 'TORCH_INDEX was not set and is https://x'),
        (dict(root='/moved'), 'folder was'),
    ],
)
def test_what_makes_the_environment_anew(script, changes, reason):
    found = script.must_renew(wanted(script), wanted(script, **changes))
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_folder_of_somebody_else_is_left_alone(script):
    script.VENV.mkdir()
    (script.VENV / 'thesis.tex').write_text('mine')
    with pytest.raises(script.SetupError, match='Move it away'):
        script.prepare_folder({}, wanted(script))
    assert (script.VENV / 'thesis.tex').read_text() == 'mine'


def test_folder_of_an_unfinished_set_up_is_kept_and_one_for_another_device_is_emptied(script, monkeypatch):
    monkeypatch.setattr(script, 'FREE_GB', {'cpu': 0, 'cuda': 0})
    script.prepare_folder({}, wanted(script))
    assert script.read_state() == wanted(script, done=False)
    (script.VENV / 'lib').mkdir()
    script.prepare_folder(script.read_state(), wanted(script))
    assert (script.VENV / 'lib').exists()
    script.prepare_folder(script.read_state(), wanted(script, device='cuda'))
    assert [path.name for path in script.VENV.iterdir()] == ['setup.json']
    assert script.read_state()['device'] == 'cuda'


def test_second_set_up_does_nothing_until_something_changes(script, monkeypatch, capsys):
    runs = []
    monkeypatch.setattr(script.Setup, 'run_all', lambda self: runs.append(self.device))
    monkeypatch.setattr(script, 'driver_answers', lambda: False)
    monkeypatch.setattr(script, 'FREE_GB', {'cpu': 0})
    monkeypatch.setattr(script, 'venv_version', lambda: script.version(sys.version_info[:2]))
    script.main([])
    script.VENV_PYTHON.parent.mkdir()
    script.VENV_PYTHON.touch()
    script.main([])
    assert runs == ['cpu'] and 'nothing to do' in capsys.readouterr().out
    # Without being asked again the device stays that of the first time.
    monkeypatch.setattr(script, 'driver_answers', lambda: True)
    script.main([])
    assert runs == ['cpu']
    script.INPUTS[0].write_text('torch==2.14.0\n')
    script.main([])
    script.main([])
    assert runs == ['cpu', 'cpu']


def test_set_up_that_failed_is_taken_up_again(script, monkeypatch):
    tries = []

    def fail_once(self):
        tries.append(self)
        if len(tries) == 1:
            raise script.SetupError('no network')

    monkeypatch.setattr(script.Setup, 'run_all', fail_once)
    monkeypatch.setattr(script, 'FREE_GB', {'cpu': 0})
    with pytest.raises(script.SetupError):
        script.main(['--device', 'cpu'])
    script.main(['--device', 'cpu'])
    assert len(tries) == 2 and script.read_state()['done']


def test_unknown_device(script):
    with pytest.raises(script.SetupError, match="DEVICE is 'gpu'"):
        script.main(['--device', 'gpu'])


# ---- torch and mmcv
@pytest.fixture
def steps(script, monkeypatch):
    """A set-up whose commands are written down instead of run."""
    setup = script.Setup(PYTHON, 'cpu', '', '')
    setup.commands = []
    script.VENV.mkdir()

    def note(name, command, *_):
        setup.commands.append((name, ' '.join(map(str, command))))
        script.log_path(name).write_text(setup.log)

    monkeypatch.setattr(script, 'must_run', note)
    monkeypatch.setattr(script, 'check_compilers', lambda *_: None)
    setup.log = 'Building wheel for onedl-mmcv (pyproject.toml)\n'
    return setup


@pytest.mark.parametrize(
    ('device', 'asked', 'answers', 'index'),
    [
        ('cpu', '', True, 'https://download.pytorch.org/whl/cpu'),
        ('cpu', '', False, None),
        ('cpu', 'https://own', True, 'https://own'),
        ('cuda', '', True, None),
        ('cuda', 'https://own', False, 'https://own'),
    ],
)
def test_where_torch_comes_from(script, steps, monkeypatch, device, asked, answers, index):
    monkeypatch.setattr(script, 'reachable', lambda url: answers)
    monkeypatch.setattr(script.Setup, 'torch_cuda', lambda self: '12.8')
    steps.device, steps.torch_index = device, asked
    steps.install_torch()
    [(_, command)] = steps.commands
    # An extra index: `--index-url` would replace the user's own.
    assert '--index-url' not in command.replace('--extra-index-url', '')
    assert (f'--extra-index-url {index}' in command) if index else ('index-url' not in command)


def test_cpu_build_of_torch_is_refused_for_cuda(script, steps, monkeypatch):
    monkeypatch.setattr(script.Setup, 'ask_venv', lambda self, code: '' if 'cuda' in code else '2.13.0+cpu')
    steps.device = 'cuda'
    with pytest.raises(script.SetupError, match=r'2\.13\.0\+cpu.*TORCH_INDEX=.*DEVICE=cpu'):
        steps.install_torch()


def test_nvcc_of_another_release_is_refused(script, steps, monkeypatch):
    monkeypatch.setattr(script.Setup, 'torch_cuda', lambda self: '13.0')
    monkeypatch.setattr(script, 'nvcc_release', lambda: '12.8')
    steps.device = 'cuda'
    with pytest.raises(script.SetupError, match='CUDA 12.8 and torch is built with CUDA 13.0.*whl/cu128'):
        steps.check_nvcc_fits()


def works(monkeypatch, script, *answers):
    """What `mmcv_works` answers, one time after the other."""
    turns = iter(answers)
    monkeypatch.setattr(script.Setup, 'mmcv_works', lambda self: next(turns))


def test_mmcv_that_works_is_left_as_it_is(script, steps, monkeypatch):
    works(monkeypatch, script, True)
    steps.install_mmcv([])
    assert steps.commands == []


def test_ready_wheel_is_taken(script, steps, monkeypatch):
    works(monkeypatch, script, False, True)
    steps.install_mmcv([Path('/wheels/onedl_mmcv.whl')])
    assert [name for name, _ in steps.commands] == ['mmcv-remove', 'mmcv']
    assert steps.commands[-1][1].endswith('/wheels/onedl_mmcv.whl')


def test_ready_wheel_that_does_not_load_gives_way_to_compiling(script, steps, monkeypatch, capsys):
    works(monkeypatch, script, False, False, True, True)
    steps.install_mmcv([Path('/wheels/onedl_mmcv.whl')])
    assert [name for name, _ in steps.commands] == ['mmcv-remove', 'mmcv', 'mmcv-tools', 'mmcv-remove', 'mmcv']
    assert '--no-build-isolation --no-binary onedl-mmcv' in steps.commands[-1][1]
    assert 'onedl_mmcv.whl does not load' in capsys.readouterr().out


def test_kept_build_for_another_torch_is_compiled_afresh(script, steps, monkeypatch):
    works(monkeypatch, script, False, False, True)
    steps.log = 'Using cached onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl\n'
    steps.install_mmcv([])
    first, second = [command for name, command in steps.commands if name == 'mmcv']
    assert '--no-cache-dir' not in first and '--no-cache-dir' in second


def test_fresh_build_that_does_not_load_is_an_error(script, steps, monkeypatch):
    works(monkeypatch, script, *[False] * 4)
    monkeypatch.setattr(script.Setup, 'loading_error', lambda self: 'ImportError: undefined symbol: _ZN2at')
    with pytest.raises(script.SetupError, match='undefined symbol'):
        steps.install_mmcv([])
    assert [name for name, _ in steps.commands].count('mmcv') == 1


# ---- the make targets
def test_make_names_a_wrong_interpreter():
    done = subprocess.run(['make', 'setup', 'PYTHON=no-such-python'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "setup: 'no-such-python' does not run" in done.stderr


def test_make_alone_lists_its_targets():
    done = subprocess.run(['make'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert {'setup', 'test', 'lint'} <= {
        line.split()[1] for line in done.stdout.splitlines() if line.startswith('make ')
    }
