"""Environments that are not what check_env and setup_env need: each ends with what is wrong and what to do."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ..tools.command import REPO
from .ending import fault

PARTS = ('torch', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmiformer', 'mmcv.ops')
FAILURES = {
    'it is missing': ModuleNotFoundError("No module named 'x'"),
    'it lacks a symbol': ImportError('undefined symbol: _ZN3c105ErrorC2E'),
    'it asserts another version': AssertionError('MMCV==2.2.0 is used but incompatible'),
    'a library of its is missing': OSError('libGL.so.1: cannot open shared object file'),
    'it is for another NumPy': AttributeError('_ARRAY_API not found'),
    'it is cut off': SyntaxError('invalid syntax'),
}


@pytest.mark.parametrize('part', PARTS)
def test_a_part_that_does_not_import(monkeypatch, capsys, part):
    real = importlib.import_module
    for name, error in FAILURES.items():

        def fails(module: str, error: Exception = error) -> ModuleType:
            if module == part:
                raise error
            return real(module)

        with monkeypatch.context() as patch:
            patch.setattr(importlib, 'import_module', fails)
            assert not (wrong := fault(patch, capsys, 'check_env', [])), (name, wrong)


@pytest.mark.parametrize('part', PARTS[:-1])
def test_a_folder_in_the_place_of_a_part(monkeypatch, capsys, tmp_path, part):
    namespace = ModuleType(part)
    namespace.__path__ = [str(tmp_path / part)]
    monkeypatch.setattr(importlib, 'import_module', lambda name: namespace if name == part else sys.modules[name])
    assert fault(monkeypatch, capsys, 'check_env', []) is None


def wrong_results() -> dict[str, Callable]:
    def fails(error: Exception) -> Callable:
        def operator(*_: object):
            raise error

        return operator

    import torch

    return {
        'nothing dropped': lambda boxes, *_: (boxes, torch.tensor([0, 1])),
        'all dropped': lambda boxes, *_: (boxes, torch.tensor([], dtype=torch.int64)),
        'no kernel': fails(RuntimeError('CUDA error: no kernel image is available for execution on the device')),
        'not compiled': fails(NotImplementedError('nms is not compiled with CPU support')),
        'other arguments': fails(TypeError("nms() got an unexpected keyword argument 'offset'")),
    }


@pytest.mark.parametrize('name', wrong_results())
def test_operators_that_do_not_work(monkeypatch, capsys, name):
    import mmcv.ops

    monkeypatch.setattr(mmcv.ops, 'nms', wrong_results()[name])
    assert fault(monkeypatch, capsys, 'check_env', []) is None


def test_no_gpu(monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert fault(monkeypatch, capsys, 'check_env', ['--device', 'cuda']) is None


# ---- setup_env

VARIABLES = {
    'STACK': ('mmlab', 'onedl ', 'ONEDL', '../x', 'openmmlab,onedl'),
    'DEVICE': ('gpu', 'CUDA', '0', 'cuda:0', ' ', 'cpu,cuda'),
    'MAX_JOBS': ('0', '-1', 'x', '1.5', 'all', ' '),
}
# A checkout in which something is in the way: what the test makes below its root.
PLACES = {
    'the environment is a file': lambda root: (root / '.venv').write_text(''),
    'the environment is a link to nothing': lambda root: (root / '.venv').symlink_to(root / 'nothing'),
    'the environment is a link to itself': lambda root: (root / '.venv').symlink_to(root / '.venv'),
    'the environment is a device': lambda root: (root / '.venv').symlink_to('/dev/null'),
    'its notes are a folder': lambda root: (root / '.venv/setup.json').mkdir(parents=True),
    'its notes are in a file': lambda root: (root / '.venv').write_text('{}'),
    'requirements that are a folder': lambda root: (root / 'requirements' / 'x.txt').mkdir(),
    'requirements that cannot be read': lambda root: (root / 'requirements' / 'x.txt').symlink_to('/proc/self/mem'),
    'no project': lambda root: (root / 'pyproject.toml').unlink(),
    'no setup.py': lambda root: (root / 'setup.py').unlink(),
    'a project that is a folder': lambda root: ((root / 'setup.py').unlink(), (root / 'setup.py').mkdir()),
}


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout with the script alone."""
    root = tmp_path / 'checkout'
    for folder in ('tools', 'requirements'):
        (root / folder).mkdir(parents=True)
    (root / 'tools/setup_env.py').write_text((REPO / 'tools/setup_env.py').read_text())
    (root / 'requirements/onedl.txt').write_text('onedl-mmcv==2.3.6.*\n')
    for name in ('pyproject.toml', 'setup.py'):
        (root / name).write_text('')
    return root


def set_up(checkout: Path, **variables: str) -> tuple[int, str]:
    """The status of the script, and what it says. Whatever it starts fails, and there is no network."""
    nowhere = 'http://127.0.0.1:9'
    code = f"""
import runpy, subprocess, sys
sys.argv = ['setup_env.py']
subprocess.run = lambda command, **_: subprocess.CompletedProcess(command, 1, '', '')
script = {str(checkout / 'tools/setup_env.py')!r}
text = open(script).read()
for url in ('https://download.pytorch.org', 'https://mmwheels.onedl.ai'):
    text = text.replace(url, {nowhere!r})
exec(compile(text, script, 'exec'), dict(__name__='__main__', __file__=script))
"""
    done = subprocess.run(
        [sys.executable, '-S', '-c', code], env=dict(PATH='/usr/bin:/bin', **variables), capture_output=True, text=True
    )
    return done.returncode, done.stderr


CASES = [*(({}, name) for name in PLACES), *(({name: value}, '') for name in VARIABLES for value in VARIABLES[name])]


@pytest.mark.parametrize(('variables', 'place'), CASES)
def test_set_up(checkout, variables, place):
    if place:
        PLACES[place](checkout)
    code, said = set_up(checkout, **variables)
    assert code == 1 and said.startswith('setup: ') and 'Traceback' not in said, said
    assert len(said.splitlines()) < 5 and 'this step failed' not in said, said
    for name in variables:
        assert name in said
