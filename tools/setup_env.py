"""Makes `.venv` and installs the pinned stack and this package there. `make setup` runs it.

It needs the standard library alone, of Python 3.9 or later. Each step is quick when it has been done before, so after
whatever stopped the set-up, the network, a full disk or Ctrl-C, running it again goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv'
VENV_PYTHON = VENV / 'bin' / 'python'
STATE = VENV / 'setup.json'
STACK = ROOT / 'requirements' / 'onedl.txt'
DEV = ROOT / 'requirements' / 'dev.txt'
PEERS = ROOT / 'requirements' / 'peers.txt'
# What decides whether a finished set-up is still the right one.
INPUTS = (STACK, DEV, PEERS, ROOT / 'pyproject.toml', ROOT / 'setup.py')

OLDEST, NEWEST, TESTED = (3, 10), (3, 13), (3, 11)
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
FREE_GB = {'cpu': 4, 'cuda': 14}
MMCV = 'onedl-mmcv'
# mmcv's own build needs these, and cannot fetch them: it must see the torch that is installed.
MMCV_BUILD = ('setuptools>=80', 'wheel', 'packaging', 'ninja', 'psutil')
STEPS = 9
AGAIN = 'Then run `make setup` again: it goes on from here.'
PIP_HINT = f"Check the network, the disk and pip's settings (`.venv/bin/python -m pip config list`). {AGAIN}"


class SetupError(Exception):
    """The set-up cannot go on. The message tells what is wrong and what to do."""


# ---- what there is to work with
def inspect_python(python: str) -> dict:
    """Version (major, minor), path and abilities of an interpreter; raises SetupError if it cannot carry the stack."""
    probe = (
        'import importlib.util as u, json, os, sys, sysconfig; print(json.dumps(dict('
        'version=sys.version_info[:2], path=getattr(sys, "_base_executable", sys.executable),'
        'venv=bool(u.find_spec("venv") and u.find_spec("ensurepip")),'
        'headers=os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))))'
    )
    name = f'one, as in `make setup PYTHON=/usr/bin/python{version(TESTED)}`'
    try:
        done = subprocess.run([python, '-c', probe], capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise SetupError(f'there is no interpreter {python!r} ({error.strerror}). Name {name}.') from None
    if done.returncode:
        raise SetupError(f'{python!r} is not a working Python 3:\n{tail(done.stderr, 3)}\nName {name}.')
    found = json.loads(done.stdout)
    if not OLDEST <= tuple(found['version']) <= NEWEST:
        raise SetupError(
            f'{found["path"]} is Python {version(found["version"])}; the stack needs {version(OLDEST)} to '
            f'{version(NEWEST)} (tested: {version(TESTED)}). Name {name}.'
        )
    if not found['venv']:
        raise SetupError(
            f'{found["path"]} cannot make virtual environments: its modules venv and ensurepip are missing. '
            f'On Debian and Ubuntu: `apt install python{version(found["version"])}-venv`; then run `make setup` again.'
        )
    return found


def version(numbers) -> str:
    """(3, 11) as '3.11'."""
    return '.'.join(map(str, numbers))


def driver_answers() -> bool:
    """Whether an NVIDIA driver lists at least one card."""
    try:
        listing = subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and 'GPU' in listing.stdout


def nvcc_release() -> str:
    """The release of CUDA's compiler, as '12.8'; '' where there is none. Looks where torch's own build looks."""
    homes = [os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH'), '/usr/local/cuda']
    choices = [os.path.join(home, 'bin', 'nvcc') for home in homes if home] + ['nvcc']
    nvcc = next(filter(None, map(shutil.which, choices)), None)
    if nvcc is None:
        return ''
    return parse_nvcc(subprocess.run([nvcc, '--version'], capture_output=True, text=True).stdout)


def parse_nvcc(text: str) -> str:
    """The release in what `nvcc --version` prints, '' if there is none."""
    found = re.search(r'release (\d+\.\d+)', text)
    return found.group(1) if found else ''


def reachable(url: str) -> bool:
    """Whether a web server answers there within five seconds."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method='HEAD'), timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


def pinned(name: str, path: Path = STACK) -> str:
    """The version that a requirements file pins for a distribution."""
    found = re.search(rf'^{re.escape(name)}==(\S+)$', path.read_text(encoding='utf-8'), re.MULTILINE)
    if not found:
        raise SetupError(f'{path} does not pin {name}: expected a line {name}==VERSION')
    return found.group(1)


def jobs() -> int:
    """How many compilers run at once: MAX_JOBS, else one for each core that this process may use."""
    asked = os.environ.get('MAX_JOBS', '')
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def check_compilers(device: str, headers: bool) -> None:
    """Raises SetupError if mmcv's operators cannot be compiled on this machine."""
    compiler = os.environ.get('CXX', 'c++').split()[0]
    if not shutil.which(compiler):
        raise SetupError(
            f"mmcv's operators must be compiled and there is no C++ compiler ({compiler}). "
            'On Debian and Ubuntu: `apt install g++`; elsewhere set CXX. Or name a folder or page with a ready wheel '
            f'of {MMCV} {pinned(MMCV)}: `make setup FIND_LINKS=...`. Then run `make setup` again.'
        )
    if not headers:
        raise SetupError(
            "mmcv's operators must be compiled and this Python has no C headers (Python.h). On Debian and Ubuntu: "
            '`apt install python3-dev` (or python3.X-dev for the version in use); then run `make setup` again.'
        )
    if device == 'cuda' and not nvcc_release():
        raise SetupError(
            "DEVICE=cuda: mmcv's operators must be compiled for CUDA and its compiler nvcc is neither on PATH nor "
            f'under CUDA_HOME or /usr/local/cuda. Install the CUDA toolkit that torch {pinned("torch")} is built with, '
            'or set CUDA_HOME, or take `make setup DEVICE=cpu`.'
        )


# ---- the state
def read_state(path: Path = STATE) -> dict:
    """What an earlier set-up, finished or not, wrote down; {} if there was none."""
    try:
        state = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(state: dict, path: Path = STATE) -> None:
    """Writes the state in one go, so that no half-written one is ever read."""
    draft = path.with_suffix('.tmp')
    draft.write_text(json.dumps(state, indent=1) + '\n', encoding='utf-8')
    draft.replace(path)


def fingerprint(paths=INPUTS) -> str:
    """Hash of the files that tell what is to be installed."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f'{path.name}\0'.encode() + path.read_bytes() + b'\0')
    return total.hexdigest()


def must_renew(previous: dict, wanted: dict) -> str:
    """Why the environment of an earlier set-up cannot be built upon; '' if it can, or if there is none."""
    for key, what in (('root', 'folder'), ('version', 'Python'), ('device', 'DEVICE'), ('torch_index', 'TORCH_INDEX')):
        if key in previous and previous[key] != wanted[key]:
            return f'{what} was {previous[key] or "not set"} and is {wanted[key] or "not set"}'
    return ''


# ---- running one step
def say(text: str, end: str = '\n') -> None:
    print(text, end=end, flush=True)


def tail(text: str, lines: int) -> str:
    return '\n'.join('    ' + line for line in text.rstrip().splitlines()[-lines:])


def log_path(name: str) -> Path:
    return VENV / f'setup-{name}.log'


def read_log(name: str) -> str:
    try:
        return log_path(name).read_text(encoding='utf-8', errors='replace')
    except OSError:
        return ''


def compiled(text: str) -> str:
    """How far ninja is: the last '[37/79]' of a build log, '' before the first."""
    found = re.findall(r'^\s*(\[\d+/\d+\])', text, re.MULTILINE)
    return found[-1] + ' ' if found else ''


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'


def environment(**extra: str) -> dict:
    """The caller's environment, less what makes pip look at or write to places outside `.venv`."""
    leaks = ('PYTHONPATH', 'PYTHONHOME', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_USER')
    kept = {key: value for key, value in os.environ.items() if key not in leaks}
    return {**kept, 'PIP_USER': '0', 'PIP_DISABLE_PIP_VERSION_CHECK': '1', 'PYTHONUNBUFFERED': '1', **extra}


def run(name: str, command, env: dict | None = None) -> int:
    """Runs a command, logs to `.venv/setup-<name>.log`, shows that it is alive, and returns its status."""
    start = time.monotonic()
    live = sys.stdout.isatty()
    every = 1 if live else 30
    with open(log_path(name), 'w', encoding='utf-8') as log:
        log.write(f'$ {" ".join(map(str, command))}\n')
        log.flush()
        # A process group of its own: Ctrl-C reaches this script first, which then ends the group, compilers included.
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env=env or environment(),
            start_new_session=True,
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=every)
                    break
                except subprocess.TimeoutExpired:
                    beat = f'      {compiled(read_log(name))}{clock(time.monotonic() - start)} ...'
                    say(f'\r\033[K{beat}' if live else beat, end='' if live else '\n')
        except BaseException:
            end_group(process)
            raise
    say(f'{chr(13)}{chr(27)}[K' if live else '', end='')
    say(f'      {"done" if status == 0 else "ended"} after {clock(time.monotonic() - start)}')
    return status


def end_group(process: subprocess.Popen) -> None:
    """Ends a process and everything it started, politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def must_run(name: str, command, hint: str, env: dict | None = None) -> None:
    """`run`, with a failure made a SetupError that shows the log's last lines and how to go on."""
    status = run(name, command, env)
    if status:
        raise SetupError(
            f'the step {name!r} failed with status {status}. The last lines of {log_path(name)}:\n'
            f'{tail(read_log(name), 15)}\n{hint}'
        )


# ---- the steps
class Setup:
    """The steps, in order.

    Args:
        python (dict): what `inspect_python` tells of the interpreter that makes the environment.
        device (str): 'cpu' or 'cuda'.
        torch_index (str): package index to take torch from besides pip's own settings; '' for the usual one.
        find_links (str): folders or pages of further wheels, separated by spaces.
    """

    def __init__(self, python: dict, device: str, torch_index: str, find_links: str):
        self.python = python
        self.device = device
        self.torch_index = torch_index
        # On the command line these are added to pip's settings; an environment variable would replace them.
        self.links = [part for link in find_links.split() for part in ('--find-links', link)]
        self.step = 0

    def title(self, text: str) -> None:
        self.step += 1
        say(f'[{self.step}/{STEPS}] {text}')

    def pip(self, verb: str, *arguments) -> list:
        return [VENV_PYTHON, '-m', 'pip', verb, '--progress-bar', 'off', *self.links, *arguments]

    def ask_venv(self, code: str) -> str:
        """What a line of Python prints in the environment; '' if it fails."""
        answer = subprocess.run([VENV_PYTHON, '-c', code], capture_output=True, text=True, env=environment(), cwd=ROOT)
        return answer.stdout.strip() if answer.returncode == 0 else ''

    def make_venv(self) -> None:
        self.title('virtual environment .venv')
        must_run(
            'venv',
            [self.python['path'], '-m', 'venv', VENV],
            f'If this Python cannot make one, name another: `make setup PYTHON=...`. {AGAIN}',
        )

    def find_mmcv(self) -> list:
        """The ready wheel of mmcv that pip's settings offer, as a list of one or none."""
        self.title("mmcv's compiled operators: looking for a ready wheel")
        folder = VENV / 'setup-wheels'
        shutil.rmtree(folder, ignore_errors=True)
        wanted = f'{MMCV}=={pinned(MMCV)}'
        command = self.pip('download', '--no-deps', '--only-binary', MMCV, '--dest', folder, wanted)
        if run('mmcv-wheel', command):
            log = read_log('mmcv-wheel')
            if 'No matching distribution' not in log:
                raise SetupError(f'looking for {wanted} failed. pip says:\n{tail(log, 8)}\n{PIP_HINT}')
            if not self.mmcv_works():
                check_compilers(self.device, self.python['headers'])
                say(f'      none for this Python. Still to come: {self.price()}')
        return sorted(folder.glob('*.whl'))

    def price(self) -> str:
        """What compiling mmcv's operators takes, in words."""
        time_taken = 'about 10 minutes on 2 cores'
        if self.device == 'cuda':
            time_taken = f'with nvcc {nvcc_release()}, longer than the 10 minutes on 2 cores that the CPU build takes'
        return f'compiling, once (pip keeps the result), {jobs()} at a time: {time_taken}'

    def install_tools(self) -> None:
        self.title('tools to build, test and lint with')
        must_run('tools', self.pip('install', '-r', DEV), PIP_HINT)

    def install_torch(self) -> None:
        self.title(f'torch {pinned("torch")} for {self.device}')
        index = self.torch_index
        if not index and self.device == 'cpu':
            # macOS has one build only; elsewhere the plain index offers the build for CUDA, gigabytes larger.
            if reachable(f'{CPU_INDEX}/torch/'):
                index = CPU_INDEX
            else:
                say(f"      {CPU_INDEX} does not answer: taking what pip's settings offer")
        extra = ['--extra-index-url', index] if index else []
        must_run('torch', self.pip('install', '-c', STACK, *extra, 'torch', 'numpy'), PIP_HINT)
        if self.device == 'cuda' and not self.torch_cuda():
            found = self.ask_venv('import torch; print(torch.__version__)')
            raise SetupError(
                f"DEVICE=cuda, but pip's settings led to torch {found}, which is built for the CPU alone. Name the "
                'index of a CUDA build, `make setup DEVICE=cuda TORCH_INDEX=https://download.pytorch.org/whl/cu...`, '
                'or take `make setup DEVICE=cpu`.'
            )

    def torch_cuda(self) -> str:
        """The CUDA release that the installed torch is built with; '' for a CPU build."""
        return self.ask_venv('import torch; print(torch.version.cuda or "")')

    def mmcv_works(self) -> bool:
        """Whether the pinned mmcv is there and its operators load, for CUDA where that is wanted."""
        code = 'import mmcv; from mmcv.ops import get_compiling_cuda_version as cuda; print(mmcv.__version__, cuda())'
        found, _, cuda = self.ask_venv(code).partition(' ')
        return found == pinned(MMCV) and (self.device == 'cpu' or cuda not in ('', 'not available'))

    def install_mmcv(self, wheels: list) -> None:
        """Installs mmcv and makes sure that its operators load.

        pip keeps what it has compiled, but does not know for which torch. A wheel that does not fit is therefore tried,
        recognised and compiled afresh.
        """
        self.title("mmcv's operators")
        if self.mmcv_works():
            say('      installed already')
            return
        for wheel in wheels:
            self.remove_mmcv()
            must_run('mmcv', self.pip('install', '-c', STACK, wheel), PIP_HINT)
            if self.mmcv_works():
                return
            say(f'      {wheel.name} does not load with this torch or lacks {self.device}: {self.price()}')
        check_compilers(self.device, self.python['headers'])
        self.check_nvcc_fits()
        must_run('mmcv-tools', self.pip('install', *MMCV_BUILD), PIP_HINT)
        say(f'      compiling, unless pip has kept an earlier result; every line is in {log_path("mmcv")}')
        self.compile_mmcv()
        if not self.mmcv_works() and 'Building wheel for onedl-mmcv' not in read_log('mmcv'):
            say(f'      what pip had kept was compiled for another torch: {self.price()}')
            self.compile_mmcv('--no-cache-dir')
        if self.mmcv_works():
            return
        raise SetupError(
            f"mmcv's operators were compiled but do not load:\n{tail(self.loading_error(), 6)}\n"
            'Delete .venv and run `make setup` again; if that does not help, report it with the log '
            f'{log_path("mmcv")}.'
        )

    def compile_mmcv(self, *options: str) -> None:
        self.remove_mmcv()
        # These take the place of the flags that Python was built with. Debug information would cost time and space;
        # without -O2 RoIAlign takes twice its time and non-maximum suppression three times.
        flags = f'-O2 -g0 {os.environ.get("CFLAGS", "")}'.strip()
        env = environment(MAX_JOBS=str(jobs()), CFLAGS=flags, FORCE_CUDA='1' if self.device == 'cuda' else '0')
        if self.device == 'cpu':
            env['CUDA_VISIBLE_DEVICES'] = ''
        build = ['--no-build-isolation', '--no-binary', MMCV, '-v', *options]
        must_run(
            'mmcv',
            self.pip('install', '-c', STACK, *build, MMCV),
            'A compiler that was "Killed" ran out of memory: `MAX_JOBS=1 make setup`. Otherwise the first "error:" in '
            f'the log tells. {AGAIN}',
            env,
        )

    def check_nvcc_fits(self) -> None:
        """Raises SetupError where torch's build would refuse nvcc: both must be of one major release."""
        if self.device == 'cuda' and nvcc_release().split('.')[0] != self.torch_cuda().split('.')[0]:
            index = f'https://download.pytorch.org/whl/cu{nvcc_release().replace(".", "")}'
            raise SetupError(
                f'nvcc is of CUDA {nvcc_release()} and torch is built with CUDA {self.torch_cuda()}: the major '
                'releases must agree. Set CUDA_HOME to a matching toolkit, or take the matching torch: '
                f'`make setup DEVICE=cuda TORCH_INDEX={index}`.'
            )

    def remove_mmcv(self) -> None:
        """Removes an mmcv that does not load, which pip would take for installed. There may be none."""
        must_run('mmcv-remove', [VENV_PYTHON, '-m', 'pip', 'uninstall', '--yes', MMCV], PIP_HINT)

    def loading_error(self) -> str:
        return subprocess.run(
            [VENV_PYTHON, '-c', 'import mmcv.ops'], capture_output=True, text=True, env=environment()
        ).stderr

    def install_rest(self) -> None:
        self.title('the toolboxes')
        must_run('toolboxes', self.pip('install', '-r', STACK), PIP_HINT)

    def install_peers(self) -> None:
        self.title('timm, which the tests need')
        must_run('peers', self.pip('install', '-c', STACK, '-r', PEERS), PIP_HINT)

    def install_package(self) -> None:
        self.title('this package, editable')
        must_run('package', self.pip('install', '--no-deps', '--no-build-isolation', '--editable', ROOT), AGAIN)

    def check(self) -> None:
        self.title('check')
        must_run(
            'check',
            [VENV_PYTHON, ROOT / 'tools' / 'check_env.py', '--device', self.device],
            'If the lines above do not tell what to do, delete .venv and run `make setup` again.',
        )
        say(read_log('check').split('\n', 1)[1].rstrip())

    def run_all(self) -> None:
        self.make_venv()
        wheels = self.find_mmcv()
        self.install_tools()
        self.install_torch()
        self.install_mmcv(wheels)
        self.install_rest()
        self.install_peers()
        self.install_package()
        self.check()


# ---- main
def venv_version() -> str:
    """Python version of `.venv`, as '3.11'; '' if it has no interpreter that runs."""
    try:
        code = 'import sys; print("%d.%d" % sys.version_info[:2])'
        return subprocess.run([VENV_PYTHON, '-c', code], capture_output=True, text=True).stdout.strip()
    except OSError:
        return ''


def prepare_folder(previous: dict, wanted: dict) -> None:
    """Empties a `.venv` that cannot be built upon, checks the disk, and writes down what is being made."""
    found = venv_version()
    if not previous and VENV.exists() and any(VENV.iterdir()) and found != wanted['version']:
        raise SetupError(
            f'{VENV} is there, was not made by `make setup`, and is no virtual environment of Python '
            f'{wanted["version"]}. Move it away; then run `make setup` again.'
        )
    reason = must_renew(previous, wanted)
    if not reason and VENV_PYTHON.is_symlink() and not found:
        reason = 'its interpreter does not run any more'
    if reason:
        say(f'setup: making .venv anew: {reason}')
        # The state goes last, so that Ctrl-C in here does not leave a folder that looks like somebody else's.
        for entry in VENV.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != STATE:
                entry.unlink()
    free, need = shutil.disk_usage(ROOT).free / 1e9, FREE_GB[wanted['device']]
    if not VENV_PYTHON.exists() and free < need:
        raise SetupError(
            f'{free:.1f} GB are free in {ROOT} and {need} GB are needed. Make room; then run `make setup` again.'
        )
    VENV.mkdir(exist_ok=True)
    write_state({**wanted, 'done': False})


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--python', default='', help='interpreter for .venv; default: that of an existing .venv, else this one'
    )
    parser.add_argument(
        '--device', default='', help='cpu or cuda; default: that of an existing .venv, else cuda where a driver answers'
    )
    parser.add_argument(
        '--torch-index', default='', help="package index to take torch from, besides pip's own settings"
    )
    parser.add_argument(
        '--find-links', default='', help="folders or pages of further wheels, besides pip's own settings"
    )
    args = parser.parse_args(argv)
    if args.device not in ('', 'cpu', 'cuda'):
        raise SetupError(f'DEVICE is {args.device!r}; it can be cpu or cuda.')
    return args


def main(argv=None) -> None:
    args = parse_args(argv)
    previous = read_state()
    python = args.python or previous.get('python') or sys.executable
    if not args.python and not shutil.which(python):
        python = sys.executable
    found = inspect_python(python)
    device = args.device or previous.get('device') or ('cuda' if driver_answers() else 'cpu')
    wanted = {
        'root': str(ROOT),
        'python': found['path'],
        'version': version(found['version']),
        'device': device,
        'torch_index': args.torch_index or previous.get('torch_index', ''),
        'inputs': fingerprint(),
    }
    summary = f'.venv, Python {wanted["version"]}, DEVICE={device}'
    if previous == {**wanted, 'done': True} and VENV_PYTHON.exists():
        say(f'setup: {summary}: there already, nothing to do')
        return
    say(f'setup: {summary}; each step keeps a log, .venv/setup-*.log')
    if tuple(found['version']) != TESTED:
        say(f'setup: CI runs Python {version(TESTED)}; this one should work and is not tested')
    prepare_folder(previous, wanted)
    start = time.monotonic()
    Setup(found, device, wanted['torch_index'], args.find_links).run_all()
    write_state({**wanted, 'done': True})
    say(f'setup: done in {clock(time.monotonic() - start)}. Use .venv/bin/python; `make test` runs the tests.')


def interrupt(*_):
    raise KeyboardInterrupt


if __name__ == '__main__':
    # What ends a CI job or closes a terminal must end the compilers too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        main()
    except SetupError as error:
        sys.exit(f'setup: {error}')
    except KeyboardInterrupt:
        sys.exit('\nsetup: stopped. `make setup` goes on from here.')
