"""The set-up script, as far as it can be seen without downloading anything."""

import functools
import http.server
import importlib.util
import json
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script, for a checkout in a temporary folder, without the caller's settings and without a network."""
    monkeypatch.delenv('STACK', raising=False)  # as `make test STACK=openmmlab` has it
    spec = importlib.util.spec_from_file_location('setup_env', ROOT / 'tools' / 'setup_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values = dict(ROOT=tmp_path, VENV=tmp_path / '.venv', REQUIREMENTS=tmp_path, STACK=tmp_path / 'onedl.txt')
    nowhere = 'http://127.0.0.1:9'
    values.update(FREE_GB={'cpu': 0, 'cuda': 0}, driver_answers=lambda: False, TORCH_INDEX=nowhere, MMCV_INDEX=nowhere)
    for name, value in values.items():
        monkeypatch.setattr(module, name, value)
    for name in ('onedl.txt', 'pyproject.toml', 'setup.py'):
        (tmp_path / name).write_text('onedl-mmcv==2.3.6.*\n')
    for name in ('DEVICE', 'TORCH_INDEX', 'FIND_LINKS', 'MAX_JOBS', 'CXX', 'CFLAGS', 'CUDA_HOME'):
        monkeypatch.delenv(name, raising=False)
    return module


# ---- the original packages
def test_the_original_packages_have_an_environment_of_their_own(tmp_path):
    code = "import runpy; print(*map(runpy.run_path('setup_env.py').get, ('VENV', 'STACK', 'MMCV', 'MMCV_FOLDERS')))"
    shown = [
        subprocess.run(
            [sys.executable, '-c', code], cwd=ROOT / 'tools', env={'STACK': name}, capture_output=True, text=True
        ).stdout.split()
        for name in ('', 'openmmlab')
    ]
    assert shown[0][:3] == [f'{ROOT}/.venv', f'{ROOT}/requirements/onedl.txt', 'onedl-mmcv']
    assert shown[1] == [f'{ROOT}/.venv-openmmlab', f'{ROOT}/requirements/openmmlab.txt', 'mmcv', '{}']


def test_original_packages_need_their_pythons(script, monkeypatch):
    monkeypatch.setattr(script, 'ORIGINAL', True)
    monkeypatch.setattr(script.sys, 'version_info', (3, 12))
    with pytest.raises(SystemExit, match='need Python 3.10 or 3.11, not 3.12'):
        script.main([])
    monkeypatch.setattr(script, 'NAME', 'mmlab')
    with pytest.raises(SystemExit, match="STACK is 'mmlab'; it can be onedl or openmmlab"):
        script.main([])


def test_original_packages_keep_their_setuptools(script, monkeypatch):
    monkeypatch.setattr(script, 'ORIGINAL', True)
    (script.REQUIREMENTS / 'dev.txt').write_text('# comment\nsetuptools==84.2.1\npytest==9.2.0\n')
    assert script.Setup('3.11', 'cpu', '', []).tools() == ['pytest==9.2.0']


# ---- what the machine lacks
def test_missing_compilers(script, monkeypatch, tmp_path):
    monkeypatch.setenv('CXX', sys.executable)
    script.check_compilers('cpu')
    monkeypatch.setenv('CUDA_HOME', str(tmp_path))
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(SystemExit, match='nvcc is missing.*DEVICE=cpu'):
        script.check_compilers('cuda')
    monkeypatch.setattr(script.sysconfig, 'get_paths', lambda: {'include': str(tmp_path)})
    with pytest.raises(SystemExit, match='python3-dev'):
        script.check_compilers('cpu')
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(SystemExit, match='no-such-compiler.*apt install g'):
        script.check_compilers('cpu')


def test_missing_compiler_is_reported_before_anything_is_downloaded(script, monkeypatch):
    called = []
    monkeypatch.setattr(script.Setup, 'call', lambda self, command: called.append(command))
    monkeypatch.setattr(script.Setup, 'mmcv_works', lambda self: False)
    monkeypatch.setattr(script.Setup, 'ready_wheel', lambda self: None)
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(SystemExit, match='no-such-compiler'):
        script.main([])
    assert [command[1:3] for command in called] == [['-m', 'venv']]


def test_full_disk_is_reported_before_anything_is_made(script, monkeypatch):
    monkeypatch.setattr(script, 'FREE_GB', {'cpu': 10**9})
    with pytest.raises(SystemExit, match='needs 1000000000 GB'):
        script.main([])
    assert not script.VENV.exists()


def test_unknown_device(script, monkeypatch):
    monkeypatch.setenv('DEVICE', 'gpu')
    with pytest.raises(SystemExit, match="DEVICE is 'gpu'; it can be cpu or cuda"):
        script.main([])


def test_index_that_does_not_answer_is_found_out_quickly(script):
    start = time.monotonic()
    assert not script.answers(f'{script.TORCH_INDEX}/cpu/torch/')
    assert time.monotonic() - start < 6


# ---- nothing twice, nothing lost
@pytest.fixture
def runs(script, monkeypatch):
    """The settings of each set-up that ran."""
    done = []
    monkeypatch.setattr(script.Setup, 'run', lambda self: done.append((self.device, *self.index[1:])))
    return done


def test_second_set_up_does_nothing_until_something_changes(script, runs, monkeypatch, capsys):
    script.main([])
    script.main([])
    assert runs == [('cpu',)] and 'nothing to do' in capsys.readouterr().out
    # Without being asked again the device stays that of the first time.
    monkeypatch.setattr(script, 'driver_answers', lambda: True)
    script.main([])
    assert len(runs) == 1
    script.STACK.write_text('onedl-mmcv==2.3.7.*\n')
    script.main([])
    script.main([])
    assert runs == [('cpu',)] * 2


def test_gpu_is_used_where_a_driver_answers(script, runs, monkeypatch):
    monkeypatch.setattr(script, 'driver_answers', lambda: True)
    script.main([])
    assert runs == [('cuda',)]


def test_set_up_that_failed_is_taken_up_again(script, monkeypatch):
    def stop(self):
        (script.VENV / 'torch').touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(script.Setup, 'run', stop)
    with pytest.raises(KeyboardInterrupt):
        script.main([])
    monkeypatch.setattr(script.Setup, 'run', lambda self: None)
    script.main([])
    assert (script.VENV / 'torch').exists()
    assert json.loads((script.VENV / 'setup.json').read_text())['inputs'] == script.fingerprint()


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('DEVICE', 'cuda', 'device was cpu'),
        ('TORCH_INDEX', 'https://example.org/whl/cpu', 'torch_index was not set'),
        ('python', '3.9 of /opt', 'python was 3.9 of /opt'),
        ('root', '/moved', 'root was /moved'),
    ],
)
def test_environment_is_made_anew_for_other_choices(script, runs, monkeypatch, capsys, name, value, reason):
    script.main([])
    stamp = script.VENV / 'setup.json'
    if name.isupper():
        monkeypatch.setenv(name, value)
    else:
        stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {name: value}))
    (script.VENV / 'lib').mkdir()
    script.main([])
    assert len(runs) == 2 and reason in capsys.readouterr().out
    assert [path.name for path in script.VENV.iterdir()] == ['setup.json']
    assert not script.VENV.with_name('.venv-old').exists()


def test_folder_of_somebody_else_is_built_upon(script, runs):
    script.VENV.mkdir()
    (script.VENV / 'thesis.tex').write_text('mine')
    script.main([])
    assert len(runs) == 1 and (script.VENV / 'thesis.tex').read_text() == 'mine'


# ---- what pip is told
def test_settings_of_pip_are_kept_and_added_to(script, monkeypatch):
    monkeypatch.setenv('PIP_FIND_LINKS', '/own/wheels')
    monkeypatch.setenv('PYTHONPATH', '/elsewhere')
    setup = script.Setup('3.11', 'cpu', '', ['/a', '/b'])
    assert setup.env['PIP_FIND_LINKS'] == '/own/wheels' and 'PYTHONPATH' not in setup.env
    command = setup.pip('install', 'torch')
    assert command[1:4] == ['-m', 'pip', 'install'] and command[-1] == 'torch'
    assert [command[i + 1] for i, part in enumerate(command) if part == '--find-links'] == ['/a', '/b']


@pytest.mark.parametrize(
    ('python', 'device', 'asked', 'index'),
    [
        ('3.11', 'cpu', '', 'TORCH_INDEX/cpu'),
        ('3.11', 'cpu', 'https://example.org', 'https://example.org'),
        ('3.11', 'cuda', '', ''),
        ('3.12', 'cuda', '', 'TORCH_INDEX/cu129'),
        ('3.12', 'cuda', 'https://example.org/whl/cu126', 'https://example.org/whl/cu126'),
    ],
)
def test_where_torch_comes_from(script, monkeypatch, python, device, asked, index):
    monkeypatch.setattr(script, 'TORCH_INDEX', 'TORCH_INDEX')
    monkeypatch.setattr(script, 'answers', lambda url: True)
    # An extra index: `--index-url` would replace the user's own.
    assert script.Setup(python, device, asked, []).index == (['--extra-index-url', index] if index else [])
    monkeypatch.setattr(script, 'answers', lambda url: False)
    assert script.Setup(python, device, asked, []).index == (['--extra-index-url', asked] if asked else [])


def test_torch_for_the_cpu_is_refused_for_cuda(script, monkeypatch):
    monkeypatch.setattr(script.Setup, 'call', lambda self, command: None)
    monkeypatch.setattr(script.Setup, 'mmcv_works', lambda self: True)
    monkeypatch.setattr(script.Setup, 'ask', lambda self, code: 'None')
    with pytest.raises(SystemExit, match='TORCH_INDEX=.*DEVICE=cpu'):
        script.Setup('3.11', 'cuda', '', []).run()


# ---- ready wheels of mmcv, from a page on this machine
def wheel(path: Path) -> None:
    """A wheel with metadata and nothing else."""
    name, version, *_ = path.name.split('-')
    path.parent.mkdir(parents=True, exist_ok=True)
    info = f'{name}-{version}.dist-info'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
        archive.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        archive.writestr(f'{info}/RECORD', '')


@pytest.fixture
def index(script, monkeypatch, tmp_path):
    """The folder of an index of ready wheels, with pip cut off from every other."""
    folder = tmp_path / 'index'
    folder.mkdir()
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, 'log_message', lambda *_: None)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setattr(script, 'MMCV_INDEX', f'http://127.0.0.1:{server.server_port}')
        monkeypatch.setenv('PIP_NO_INDEX', '1')
        monkeypatch.delenv('PIP_FIND_LINKS', raising=False)
        yield folder
        server.shutdown()


def ready_wheel(script, *arguments) -> str:
    """The name of the wheel that is found, by the pip of this environment."""
    setup = script.Setup(*arguments)
    setup.python = sys.executable
    found = setup.ready_wheel()
    return found and found.name


@pytest.mark.parametrize(
    ('python', 'device', 'torch_index', 'folder'),
    [
        ('3.10', 'cpu', '', 'cpu-torch280'),
        ('3.10', 'cuda', '', 'cu128-torch280'),
        ('3.10', 'cuda', 'https://example.org/whl/cu129/', 'cu129-torch280'),
        ('3.12', 'cpu', '', 'cpu-torch2100'),
        ('3.12', 'cuda', '', 'cu129-torch2100'),
    ],
)
def test_ready_wheel_is_that_of_python_torch_and_device(script, index, python, device, torch_index, folder):
    for other in ('cpu-torch280', 'cu128-torch280', 'cu129-torch280', 'cpu-torch2100', 'cu129-torch2100'):
        wheel(index / other / 'onedl-mmcv' / f'onedl_mmcv-2.3.6-1{other.replace("-", "")}-py3-none-any.whl')
    name = f'onedl_mmcv-2.3.6-1{folder.replace("-", "")}-py3-none-any.whl'
    assert ready_wheel(script, python, device, torch_index, []) == name
    assert ready_wheel(script, '3.11', device, torch_index, []) is None


def test_ready_wheel_is_the_newest_post_release(script, index):
    for version in ('2.3.6', '2.3.6.post1', '2.4.0'):
        wheel(index / 'cpu-torch2100' / 'onedl-mmcv' / f'onedl_mmcv-{version}-py3-none-any.whl')
    assert ready_wheel(script, '3.12', 'cpu', '', []) == 'onedl_mmcv-2.3.6.post1-py3-none-any.whl'


def test_ready_wheel_of_a_folder_of_the_users(script, index, tmp_path):
    wheel(tmp_path / 'mine' / 'onedl_mmcv-2.3.6-py3-none-any.whl')
    assert ready_wheel(script, '3.11', 'cpu', '', [str(tmp_path / 'mine')]) == 'onedl_mmcv-2.3.6-py3-none-any.whl'


def test_no_ready_wheel(script, index, monkeypatch):
    assert ready_wheel(script, '3.12', 'cpu', '', []) is None  # no such page
    wheel(index / 'cpu-torch2100' / 'onedl-mmcv' / 'onedl_mmcv-2.3.6-cp27-cp27mu-linux_x86_64.whl')
    assert ready_wheel(script, '3.12', 'cpu', '', []) is None  # nothing there for this Python
    monkeypatch.setattr(script, 'MMCV_INDEX', 'http://127.0.0.1:9')
    assert ready_wheel(script, '3.12', 'cpu', '', []) is None  # nobody answers


def test_folders_of_ready_wheels_are_those_of_the_pinned_torch(script):
    lines = (ROOT / 'requirements' / 'onedl.txt').read_text().splitlines()
    pins = [Requirement(line) for line in lines if line.startswith('torch==')]
    for python, (folder, _) in script.MMCV_FOLDERS.items():
        [pin] = [pin for pin in pins if pin.marker.evaluate({'python_version': python})]
        assert folder == 'torch' + str(pin.specifier).removeprefix('==').replace('.', '')


# ---- installing mmcv
@pytest.fixture
def steps(script, monkeypatch):
    """A set-up that notes its steps instead of taking them; `works` tells in turn whether mmcv loads."""
    setup, setup.steps, setup.works = script.Setup('3.11', 'cpu', '', []), [], []
    monkeypatch.setattr(
        script.Setup, 'call', lambda self, command: self.steps.append(command[2] if command[1] == '-c' else command[3])
    )
    monkeypatch.setattr(script.Setup, 'compile_mmcv', lambda self: self.steps.append('compile'))
    monkeypatch.setattr(script.Setup, 'mmcv_works', lambda self: self.works.pop(0))
    monkeypatch.setattr(script, 'check_compilers', lambda device: None)
    return setup


def test_mmcv_that_works_is_left_as_it_is(steps):
    steps.works = [True]
    steps.install_mmcv(None)
    assert steps.steps == []


def test_ready_wheel_is_installed(steps):
    steps.works = [False, True]
    steps.install_mmcv(Path('onedl_mmcv.whl'))
    assert steps.steps == ['uninstall', 'install']


def test_ready_wheel_that_does_not_load_gives_way_to_compiling(steps, capsys):
    steps.works = [False, False]
    steps.install_mmcv(Path('onedl_mmcv.whl'))
    # The last shows why, if what was compiled does not load either.
    assert steps.steps == ['uninstall', 'install', 'uninstall', 'compile', 'import mmcv.ops']
    assert 'onedl_mmcv.whl does not load' in capsys.readouterr().out


def compiling(script, body: str):
    """A set-up whose pip is a shell script."""
    setup = script.Setup('3.11', 'cpu', '', [])
    script.VENV.mkdir()
    setup.python = script.VENV / 'python'
    setup.python.write_text(f'#!/bin/sh\n[ "$2" = pip ] || exit 0\n{body}\n')
    setup.python.chmod(0o755)
    return setup


def test_compiling_shows_how_far_it_is(script, monkeypatch, capsys):
    body = 'echo "  [1/78] c++ a"; echo note [9/9]; echo "  [2/78] c++ $CFLAGS, $MAX_JOBS jobs, CUDA $FORCE_CUDA"'
    monkeypatch.setenv('MAX_JOBS', '3')
    compiling(script, body).compile_mmcv()
    assert capsys.readouterr().out.splitlines()[1:] == ['compiled 1 of 78', 'compiled 2 of 78']
    assert (script.VENV / 'mmcv.log').read_text().endswith('  [2/78] c++ -O2 -g0 , 3 jobs, CUDA 0\n')


@pytest.mark.parametrize(
    ('output', 'shown'),
    [
        ("seq 100; echo 'a.cpp:3: error: no such thing'; seq 200 300", 'a.cpp:3: error: no such thing\n'),
        ("echo 'RuntimeError: CUDA 12.8 mismatches 13.0'; seq 9", 'RuntimeError: CUDA 12.8 mismatches 13.0\n'),
        ('seq 100', '96\n97\n98\n99\n100\n'),
    ],
)
def test_compiling_that_fails_shows_why_and_how_to_go_on(script, output, shown):
    with pytest.raises(SystemExit) as caught:
        compiling(script, f'{output}; exit 7').compile_mmcv()
    log = script.VENV / 'mmcv.log'
    assert f'The first errors in {log}:\n\n{shown}\nIf a compiler' in str(caught.value)


# ---- the make targets
@pytest.mark.parametrize('body', ['exit 3', 'exec {python} -c "import sys; sys.version_info = (3, 9); $2"'])
def test_make_names_an_unfit_interpreter(tmp_path, body):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\n' + body.format(python=sys.executable) + '\n')
    python.chmod(0o755)
    done = subprocess.run(['make', 'setup', f'PYTHON={python}'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and f"setup: '{python}' does not run or is not Python 3.10 to 3.13" in done.stderr


def test_make_alone_lists_its_targets():
    done = subprocess.run(['make'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert {'setup', 'test', 'lint'} <= {
        line.split()[1] for line in done.stdout.splitlines() if line.startswith('make ')
    }
