"""Make an environment and install the pinned stack and this package in it. `make setup` runs this script.

It needs the standard library alone, and makes the environment with the Python that runs it. Every step is quick once
it has been done, so after Ctrl-C, a lost network or a full disk the next run goes on from there. Its settings are
environment variables: STACK, DEVICE, TORCH_INDEX, FIND_LINKS, MAX_JOBS.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The fork's packages, or OpenMMLab's own: onedl or openmmlab.
NAME = os.environ.get('STACK') or 'onedl'
ORIGINAL = NAME == 'openmmlab'
VENV = ROOT / ('.venv-openmmlab' if ORIGINAL else '.venv')
REQUIREMENTS = ROOT / 'requirements'
STACK = REQUIREMENTS / f'{NAME}.txt'
MMCV = 'mmcv' if ORIGINAL else 'onedl-mmcv'
# PyPI has torch 2.1 for CUDA alone.
FREE_GB = {'cpu': 6 if ORIGINAL else 4, 'cuda': 14}
TORCH_INDEX = 'https://download.pytorch.org/whl'
# Ready wheels of mmcv's operators lie in a folder for each torch and device: Python, (torch, usual build for CUDA).
MMCV_INDEX = 'https://mmwheels.onedl.ai'
MMCV_FOLDERS = {} if ORIGINAL else {'3.10': ('torch280', 'cu128'), '3.12': ('torch2100', 'cu129')}
# mmcv's build cannot fetch these itself, since it must see the torch that is installed.
MMCV_BUILD = ('setuptools>=77,<80' if ORIGINAL else 'setuptools>=80', 'wheel', 'packaging', 'ninja', 'psutil')
MMCV_STATE = f"""
import importlib.metadata, mmcv.ops
print(importlib.metadata.version('{MMCV}'), mmcv.ops.get_compiling_cuda_version())
"""
MAKE = 'make setup STACK=openmmlab' if ORIGINAL else 'make setup'
AGAIN = f'Then run `{MAKE}` again: it goes on from here.'


def main(argv: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    if NAME not in ('onedl', 'openmmlab'):
        fail(f'STACK is {NAME!r}; it can be onedl or openmmlab.')
    stamp = VENV / 'setup.json'
    previous = read(stamp)
    device = os.environ.get('DEVICE') or previous.get('device') or ('cuda' if driver_answers() else 'cpu')
    if device not in FREE_GB:
        fail(f'DEVICE is {device!r}; it can be cpu or cuda.')
    jobs = os.environ.get('MAX_JOBS') or '1'
    if not jobs.isdecimal() or int(jobs) < 1:
        fail(f'MAX_JOBS is {jobs!r}; it can be a number from 1 up.')
    version = '{}.{}'.format(*sys.version_info)
    if ORIGINAL and version not in ('3.10', '3.11'):
        fail(f'the original packages need Python 3.10 or 3.11, not {version}: `{MAKE} PYTHON=/usr/bin/python3.11`.')
    choices = {
        'root': str(ROOT),
        'python': f'{version} of {sys.base_prefix}',
        'device': device,
        'torch_index': os.environ.get('TORCH_INDEX') or previous.get('torch_index', ''),
    }
    finished = {**choices, 'inputs': fingerprint()}
    if previous == finished:
        say(f'{VENV.name}, Python {version}, {device}: there already, nothing to do')
        return
    clear_unfit(previous, choices)
    check_disk(device)
    VENV.mkdir(exist_ok=True)
    stamp.write_text(json.dumps(choices))
    Setup(version, device, choices['torch_index'], os.environ.get('FIND_LINKS', '').split()).run()
    stamp.write_text(json.dumps(finished))
    say(f'done. `source {VENV.name}/bin/activate` to use it; `{MAKE.replace("setup", "test")}` runs the tests.')


def say(message: str) -> None:
    print(f'setup: {message}', flush=True)


def fail(message: str) -> None:
    sys.exit(f'setup: {message}')


def read(stamp: Path) -> dict:
    """What an earlier set-up noted; nothing where it was cut off."""
    try:
        return json.loads(stamp.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def driver_answers() -> bool:
    """Whether an NVIDIA driver lists a GPU."""
    return bool(shutil.which('nvidia-smi')) and not subprocess.run(['nvidia-smi', '-L'], capture_output=True).returncode


def fingerprint() -> str:
    """Hash of the files that decide what is installed."""
    paths = [*sorted(REQUIREMENTS.glob('*.txt')), ROOT / 'pyproject.toml', ROOT / 'setup.py']
    return hashlib.sha256(b''.join(path.read_bytes() for path in paths)).hexdigest()


def clear_unfit(previous: dict, choices: dict) -> None:
    """Remove an environment that this script made with other choices. One made by others is built upon."""
    changed = [
        f'{key} was {previous[key] or "not set"}' for key in choices if previous.get(key, choices[key]) != choices[key]
    ]
    if changed:
        say(f'making {VENV.name} anew: {", ".join(changed)}')
        # Moved first, so that an interruption leaves no half of an environment in place.
        old = VENV.with_name(f'{VENV.name}-old')
        shutil.rmtree(old, ignore_errors=True)
        VENV.rename(old)
        shutil.rmtree(old)


def check_disk(device: str) -> None:
    free = shutil.disk_usage(ROOT).free / 1e9
    if not VENV.exists() and free < FREE_GB[device]:
        fail(f'{ROOT} has {free:.1f} GB of free space and needs {FREE_GB[device]} GB. Make room. {AGAIN}')


def check_compilers(device: str) -> None:
    """End with a message if mmcv's operators cannot be compiled here."""
    why = "there is no ready wheel of mmcv's operators for this Python, torch and device. To compile them,"
    compiler = os.environ.get('CXX', 'c++').split()[0]
    if not shutil.which(compiler):
        fail(f'{why} a C++ compiler is missing ({compiler}). On Debian and Ubuntu: `apt install g++`. {AGAIN}')
    if not Path(sysconfig.get_paths()['include'], 'Python.h').exists():
        fail(f"{why} Python's headers are missing. On Debian and Ubuntu: `apt install python3-dev`. {AGAIN}")
    home = os.environ.get('CUDA_HOME', '/usr/local/cuda')
    if device == 'cuda' and not (shutil.which('nvcc') or shutil.which(f'{home}/bin/nvcc')):
        fail(
            f'{why} nvcc is missing, on PATH and in {home}/bin. Install the CUDA toolkit, or use `DEVICE=cpu`. {AGAIN}'
        )


def answers(url: str) -> bool:
    """Whether a page is there, within seconds; pip would try for minutes."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (OSError, ValueError):
        return False


class Setup:
    """The steps, in order.

    Args:
        version: Python's version, such as '3.11'.
        device: 'cpu' or 'cuda'.
        torch_index: Index of torch, besides pip's own settings; '' for PyTorch's, where it answers.
        find_links: Folders or pages of wheels, besides pip's own settings.
    """

    def __init__(self, version: str, device: str, torch_index: str, find_links: list[str]):
        self.version, self.device = version, device
        self.python = VENV / 'bin' / 'python'
        self.torch_folder, self.build = MMCV_FOLDERS.get(version, ('', ''))
        if device == 'cpu':
            self.build = 'cpu'
        if torch_index:
            named = re.search(r'/(cpu|cu\d+)/?$', torch_index)
            self.build = named[1] if named else self.build
        elif self.build and answers(f'{TORCH_INDEX}/{self.build}/torch/'):
            torch_index = f'{TORCH_INDEX}/{self.build}'
        self.index = ['--extra-index-url', torch_index] if torch_index else []
        # On the command line links are added to pip's settings; an environment variable would replace them.
        self.links = [part for link in find_links for part in ('--find-links', link)]
        # Settings that would make pip or Python look at or write to places outside `.venv`.
        leaks = ('PYTHONPATH', 'PYTHONHOME', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_USER')
        self.env = {key: value for key, value in os.environ.items() if key not in leaks}
        self.env |= {'PIP_DISABLE_PIP_VERSION_CHECK': '1', 'PYTHONUNBUFFERED': '1'}

    def run(self) -> None:
        say(f'[1/5] {VENV.name}, Python {self.version}, {self.device}')
        self.call([sys._base_executable, '-m', 'venv', VENV])
        say("[2/5] looking for mmcv's operators")
        works = self.mmcv_works()
        wheel = None if works else self.ready_wheel()
        if not works and not wheel:
            check_compilers(self.device)
        say('[3/5] torch and the tools to test with' if ORIGINAL else '[3/5] torch, timm and the tools to test with')
        self.call(self.pip('install', '-c', STACK, *self.index, 'torch', 'numpy', *self.tools(), *MMCV_BUILD))
        if self.device == 'cuda' and self.ask('import torch; print(torch.version.cuda)') == 'None':
            fail(
                'DEVICE=cuda, but pip found a torch for the CPU alone. Name an index of a CUDA build, '
                f'`make setup DEVICE=cuda TORCH_INDEX={TORCH_INDEX}/cu...`, or use `DEVICE=cpu`.'
            )
        say("[4/5] mmcv's operators")
        self.install_mmcv(wheel)
        say('[5/5] toolboxes and this package')
        extras = NAME if ORIGINAL else f'{NAME},peers'
        self.call(self.pip('install', '--no-build-isolation', '--editable', f'{ROOT}[{extras}]'))
        self.call([self.python, ROOT / 'tools' / 'check_env.py', '--device', self.device])

    def tools(self) -> list:
        """What to test with: the original packages need an older setuptools than the rest, and timm another torch."""
        if not ORIGINAL:
            return ['-r', REQUIREMENTS / 'peers.txt', '-r', REQUIREMENTS / 'dev.txt']
        lines = (REQUIREMENTS / 'dev.txt').read_text().splitlines()
        return [line for line in lines if line and not line.startswith(('#', 'setuptools'))]

    def pip(self, verb: str, *arguments: object) -> list:
        return [self.python, '-m', 'pip', verb, *self.links, *arguments]

    def call(self, command: list) -> None:
        """Run a command, which shows its own output, and end the set-up if it fails."""
        if subprocess.run(command, cwd=ROOT, env=self.env).returncode:
            fail(f'this step failed: mend what the lines above say. {AGAIN}')

    def ask(self, code: str) -> str:
        """What a piece of Python prints in the environment, '' if it fails."""
        done = subprocess.run([self.python, '-c', code], capture_output=True, text=True, cwd=VENV, env=self.env)
        return done.stdout.strip() if done.returncode == 0 else ''

    def mmcv_works(self) -> bool:
        """Whether the pinned mmcv is installed and its operators load, for CUDA where that is wanted."""
        pinned = re.search(rf'^{MMCV}==([\d.]+?)(\.\*)?$', STACK.read_text(), re.MULTILINE)[1]
        version, _, cuda = self.ask(MMCV_STATE).partition(' ')
        return version.startswith(pinned) and (self.device == 'cpu' or cuda != 'not available')

    def ready_wheel(self) -> Path | None:
        """The newest ready wheel of mmcv for this Python, torch and device, downloaded; None if there is none."""
        folder = VENV / 'wheels'
        shutil.rmtree(folder, ignore_errors=True)
        page = f'{MMCV_INDEX}/{self.build}-{self.torch_folder}/onedl-mmcv/'
        links = ['--find-links', page] if self.torch_folder and answers(page) else []
        options = ['--no-deps', '--only-binary', MMCV, '--dest', folder, *links]
        subprocess.run(self.pip('download', *options, '-c', STACK, MMCV), capture_output=True, env=self.env)
        return next(folder.glob('*.whl'), None)

    def install_mmcv(self, wheel: Path | None) -> None:
        """Install mmcv from a ready wheel or its source, and make sure that its operators load."""
        if self.mmcv_works():
            return
        # pip would take one that is there and does not load for what is asked for.
        remove = [self.python, '-m', 'pip', 'uninstall', '--quiet', '--yes', MMCV]
        self.call(remove)
        if wheel:
            self.call(self.pip('install', '-c', STACK, wheel))
            if self.mmcv_works():
                return
            say(f'{wheel.name} does not load beside this torch')
            self.call(remove)
        check_compilers(self.device)
        self.compile_mmcv()
        self.call([self.python, '-c', 'import mmcv.ops'])

    def compile_mmcv(self) -> None:
        # pip keeps what it has compiled, and does not know for which torch: each has a cache of its own.
        cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'mmiformer')
        cache /= f'{self.device}-torch-{self.ask("import torch; print(torch.__version__)")}'
        options = ['-v', '--no-build-isolation', '--no-binary', MMCV, '--cache-dir', cache]
        command = self.pip('install', *options, '-c', STACK, MMCV)
        # CFLAGS replace the flags that Python was built with: without debug information it takes half the time, and
        # without -O2 the operators take two to three times theirs.
        env = {
            **self.env,
            'MAX_JOBS': os.environ.get('MAX_JOBS') or str(len(os.sched_getaffinity(0))),
            'CFLAGS': f'-O2 -g0 {os.environ.get("CFLAGS", "")}',
            'FORCE_CUDA': '1' if self.device == 'cuda' else '0',
        }
        if self.device == 'cpu':
            env['CUDA_VISIBLE_DEVICES'] = ''
        log = VENV / 'mmcv.log'
        say(f'compiling, about 5 minutes on 2 cores for the CPU; every line is in {log}')
        lines = []
        with (
            log.open('w') as file,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as build,
        ):
            for line in build.stdout:
                lines.append(line)
                file.write(line)
                if step := re.match(r'\s*\[(\d+)/(\d+)\]', line):
                    print(f'compiled {step[1]} of {step[2]}', end='\r' if sys.stdout.isatty() else '\n', flush=True)
        if build.returncode:
            errors = [line for line in lines if re.search('error: ', line, re.IGNORECASE)]
            fail(
                f'compiling mmcv failed. The first errors in {log}:\n\n{"".join(errors[:5] or lines[-5:])}\nIf a '
                f'compiler was killed, memory ran out: `MAX_JOBS=1 {MAKE}`. Otherwise mend what they say. {AGAIN}'
            )


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        fail(f'stopped. `{MAKE}` goes on from here.')
    except OSError as error:  # such as a full disk
        fail(f'{error}. {AGAIN}')
