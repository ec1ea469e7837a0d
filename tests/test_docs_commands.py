"""Commands in README and docs are right: their tool's own parser takes them, and their config has what they change.

The tools themselves run in the tests of each, on small data made for the purpose. A command that neither tests nor CI
run is marked `not tested: REASON`, in a comment behind it or above it in its block, or, in running text, on its line.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from mmiformer.engine.config import merge_options, read_config

from .pages import PAGES, ROOT, split

# Beside the tools and `make`, the words that a command may begin with unmarked.
OTHERS = {'export', 'source', '-c'}
REASONS = {
    'needs a GPU',
    'needs Slurm',
    'needs an environment of its own',
    'needs the original packages',
    'takes a minute',
}

# In running text a command is told from a name by its having arguments.
_INLINE = re.compile(
    r'`((?:[A-Z_]+=\S+ )*(?:\S*python|make|pip|mim|pytest|apt|source|export|tools/\w+\.(?:py|sh)) [^`]+)`'
)
_MARK = re.compile(r'not tested: ([^;()|`]+)')
_VARIABLE = re.compile(r'([A-Z_]+)=')


# ---- reading a page


class Command(NamedTuple):
    """A command line that a page shows, and why it is not run, if the page says so."""

    line: str
    reason: str | None


def reason_in(text: str) -> str | None:
    return found[1].strip() if (found := _MARK.search(text)) else None


def commands(text: str) -> list[Command]:
    """The commands of a page, continued lines joined."""
    prose, blocks = split(text)
    found = []
    for block in blocks:
        above = None
        for line in block.code.replace('\\\n', ' ').splitlines() if block.language == 'sh' else ():
            if line.startswith('#'):
                above = reason_in(line)
            elif line:
                found.append(Command(line, reason_in(line) or above))
    return found + [Command(line, reason_in(row)) for row in prose.splitlines() for line in _INLINE.findall(row)]


# ---- what a command comes to


@pytest.fixture
def stand_ins(tmp_path) -> Path:
    """A folder with a python and an srun that print the command line that they are given."""
    for name in ('python', 'srun'):
        (tmp_path / name).write_text('#!/bin/sh\n[ "$1" = -c ] || printf "%s\\n" "$@"\n')
        (tmp_path / name).chmod(0o755)
    return tmp_path


class Checker:
    """Checks commands.

    Args:
        monkeypatch: For the time of a check.
        stand_ins: Folder of the programs that launch scripts are run with.
        files: Configs that the page tells its reader to write.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stand_ins: Path, files: set[str] = frozenset()):
        self.monkeypatch, self.stand_ins, self.files = monkeypatch, stand_ins, files

    def check(self, command: Command) -> None:
        """Assert that a command is right, and is run or has a reason not to be."""
        words = shlex.split(command.line, comments=True)
        settings = []
        while _VARIABLE.match(words[0]):
            settings.append(words.pop(0))
        if Path(words[0]).name == 'python':
            words.pop(0)
        if command.reason is not None:
            assert command.reason in REASONS, f'{command.line}: {command.reason!r} is none of {REASONS}'
        if words[0] == 'make':
            return self.check_make(words, settings, command)
        if words[0].startswith(('tools/', 'tests/')):
            return self.check_tool(words, settings)
        if not command.reason:
            assert words[0] in OTHERS, f'{command.line}: not marked "not tested: REASON"'
        if words[0] == '-c' and not command.reason:
            exec(words[1], {})
        elif words[0] == 'export':
            configs = ''.join(path.read_text() for path in (ROOT / 'configs').rglob('*.py'))
            assert all('{{$' + name + ':' in configs for name in names_of(words)), command.line

    def check_make(self, words: list[str], settings: list[str], command: Command) -> None:
        """What `make` calls must be what CI's call of it calls, with other values, or commands that are run."""
        known = set(re.findall(r'^# (\w+)=', (ROOT / 'Makefile').read_text(), re.MULTILINE))
        known |= set(re.findall(r'\b[A-Z_]{4,}\b', (ROOT / 'tools/setup_env.py').read_text()))
        assert names_of([*settings, *words]) <= known, command.line
        (targets,) = re.findall(r'\bmake ((?:[a-z]+ )+)', (ROOT / '.ci/run').read_text())
        known = {blank(line) for line in dry_run(*targets.split())}
        for line in dry_run(*words[1:]):
            if blank(line) not in known:
                self.check(Command(line, command.reason))

    def check_tool(self, words: list[str], settings: list[str]) -> None:
        """The tool is there and understands the options, the config is there and has the keys."""
        tool, *arguments = self.started(words, settings)
        args = self.parsed(tool, arguments)
        config = getattr(args, 'config', None)
        if config and config not in self.files and not config.isupper():
            self.monkeypatch.setattr('mmiformer.engine.config.logger.warning', pytest.fail)  # a key that is new
            merge_options(read_config(ROOT / config), args.cfg_options or {})

    def started(self, words: list[str], settings: list[str]) -> list[str]:
        """The Python tool and its arguments; of a launch script, those that it starts."""
        assert (ROOT / words[0]).is_file(), f'there is no {words[0]}'
        if words[0].endswith('.py'):
            return words
        path = f'{self.stand_ins}:{os.environ["PATH"]}'
        env = dict(setting.split('=', 1) for setting in settings) | dict(PATH=path)
        done = subprocess.run(['bash', *words], cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed = done.stdout.splitlines()
        (place,) = [index for index, word in enumerate(printed) if word.startswith(f'{ROOT}/tools/')]
        return [str(Path(printed[place]).relative_to(ROOT)), *printed[place + 1 :]]

    def parsed(self, tool: str, arguments: list[str]) -> Namespace:
        """What the tool's own parser makes of the arguments."""

        class Parsed(Exception):
            pass

        def parse(parser: ArgumentParser, *_) -> None:
            raise Parsed(parse_args(parser))

        def fail(parser: ArgumentParser, message: str) -> None:
            raise AssertionError(f'{tool} {shlex.join(arguments)}: {message}')

        parse_args = ArgumentParser.parse_args
        with self.monkeypatch.context() as patch, pytest.raises(Parsed) as end:
            patch.setattr(ArgumentParser, 'parse_args', parse)
            patch.setattr(ArgumentParser, 'error', fail)
            patch.setattr(sys, 'argv', [tool, *arguments])
            patch.syspath_prepend(ROOT / Path(tool).parent)
            runpy.run_path(str(ROOT / tool))['main']()
        return end.value.args[0]


def names_of(words: list[str]) -> set[str]:
    """Of the words NAME=VALUE."""
    return {found[1] for word in words if (found := _VARIABLE.match(word))}


def blank(line: str) -> str:
    """A line of a shell script without the values in quotes."""
    return re.sub(r"'[^']*'", "''", line)


@cache
def dry_run(*words: str) -> list[str]:
    done = subprocess.run(['make', '-n', '--no-print-directory', *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


# ---- the commands

SHOWN = [(page, command) for page in PAGES for command in commands(page.read_text())]


def test_commands_are_found():
    assert len(SHOWN) > 40 and {page.name for page, _ in SHOWN} >= {'README.md', 'install.md', 'train.md', 'demo.md'}
    assert sum(command.reason is None for _, command in SHOWN) > 30
    assert {command.reason for _, command in SHOWN} - {None} == REASONS


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_commands(page, monkeypatch, stand_ins):
    text = page.read_text()
    checker = Checker(monkeypatch, stand_ins, {*re.findall(r'^# (\w+\.py)$', text, re.MULTILINE)})
    for command in commands(text):
        checker.check(command)


def test_options_in_running_text_are_there():
    """Of any tool, or of pip."""
    folders = ('tools', *(f'mmiformer/{wing}' for wing in ('engine', 'evaluation', 'inference', 'benchmark')))
    sources = [source.read_text() for folder in folders for source in (ROOT / folder).glob('*.py')]
    known = {option for source in sources for option in re.findall(r"'(--[\w-]+)'", source)} | {'--no-cache-dir'}
    named = [option for page in PAGES for option in re.findall(r'`(--[\w-]+)', split(page.read_text())[0])]
    assert len(named) > 40 and set(named) <= known, set(named) - known
