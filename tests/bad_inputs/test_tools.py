"""Command lines with wrong options and paths: each ends with one message and its exit code, before anything is made."""

from __future__ import annotations

import runpy
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmiformer import checkpoint

from ..tools.command import REPO
from .ending import end
from .test_configs import wrong_files

TOOLS = sorted(path.stem for path in (REPO / 'tools').glob('*.py'))
# A command line for each tool that reads a config, with {config} for it.
CONFIG_TOOLS = dict(
    train='{config} --work-dir {out}',
    test='{config} none.pth --work-dir {out}',
    predict='{config} none.pth none.png --out {out}',
    browse_dataset='{config} --out {out}',
    check_data='{config} --out {out}',
    benchmark_training='{config}',
    complexity='{config}',
    export='{config} --to onnx --checkpoint none.pth --out {out}',
    head_similarity='{config} none.pth none.png --out {out}/a.png',
)
UNKNOWN = ['--', '-', '--x', '-x', '--no-such-option', '--help=3', '-h3', '--=', '--=x', '---x', '--é', '-1x', '--HELP']
UNKNOWN += [
    '--x=',
    '--x y',
    '--x=y',
    '-x y',
    '-xyz',
    '--x --y',
    '--x=--y',
    '-0',
    '--0',
    '--.',
    '-?',
    '--he!p',
    '--out2=a',
]
UNKNOWN += [
    '--config-file c.py',
    '--gpu-id 0',
    '--verbose=2',
    '--version',
    '-v',
    '-q',
    '--debug',
    '--yes',
    '-y',
    '--force!',
]


class Parsed(Exception):
    """The command line was right, so the tool would begin."""


def parser_of(tool: str) -> ArgumentParser:
    """The parser that a tool makes."""
    found = []

    def keep(parser: ArgumentParser, *_: object) -> Namespace:
        found.append(parser)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArgumentParser, 'parse_args', keep)
        patch.setattr('sys.argv', [tool])
        with pytest.raises(Parsed):
            runpy.run_path(str(REPO / 'tools' / f'{tool}.py'))['main']()
    return found[0]


def wrong_options(parser: ArgumentParser) -> Iterator[list[str]]:
    """Command lines with one thing wrong, in each option."""
    right = []  # what must be there
    for action in parser._actions:
        value = str(next(iter(action.choices))) if action.choices else '1'
        if not action.option_strings and action.nargs not in ('?', '*'):
            right.append(value)
        elif action.option_strings and action.required:
            right += [action.option_strings[0], value]
    for words in UNKNOWN:
        yield [*right, *words.split()]
    for missing in range(len(right)):
        yield right[:missing]
    for action in parser._actions:
        choices_or_type = action.choices or action.type not in (None, Path, str)
        if not action.option_strings:
            if action.choices:
                yield from ([value] for value in ('x', '', '0'))
            continue
        option = action.option_strings[-1]
        yield [*right, f'{option}x']
        if action.nargs == 0:
            yield [*right, f'{option}=1']
        elif action.nargs not in ('?', '*'):
            yield [*right, option]
        if choices_or_type and action.nargs != 0:
            yield from ([*right, option, value] for value in ('x', '', '1.5.', 'None', '[1]', '1,2'))


def lines_of(parser: ArgumentParser) -> list[list[str]]:
    """The wrong command lines, each once."""
    return [*{tuple(words): words for words in wrong_options(parser)}.values()]


def refused(parser: ArgumentParser, words: list[str]) -> bool:
    """Whether a command line ends with status 2; some are right after all, such as a number that is a name, too."""
    try:
        parser.parse_args(words)
    except SystemExit as stop:
        return stop.code == 2
    return False


@pytest.mark.parametrize('tool', TOOLS)
def test_wrong_options(tool, capsys):
    parser, tried = parser_of(tool), 0
    for words in lines_of(parser):
        if refused(parser, words):
            tried += 1
            assert 'error: ' in capsys.readouterr().err, words
    assert tried >= 30


@pytest.mark.parametrize('tool', CONFIG_TOOLS)
def test_what_is_no_config(tool, tmp_path, monkeypatch, capsys):
    for name in ('files', 'here'):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    wrong = []
    for name, config in wrong_files(tmp_path / 'files').items():
        words = [word.format(config=config, out=tmp_path / 'out') for word in CONFIG_TOOLS[tool].split()]
        try:
            code, said = end(monkeypatch, capsys, tool, words)
        except Exception as error:
            code, said = None, repr(error)
        if code != 1 or not said.startswith('error: '):
            wrong.append((name, code, said[-300:]))
    assert not wrong
    assert not (tmp_path / 'out').exists() and not list((tmp_path / 'here').iterdir())


# Other places that are wrong: {file} is a file, {empty} an empty folder, {full} one of something else.
PLACES = """
make_shapes {full}
convert_checkpoint {weights} {empty}
convert_checkpoint {weights} {empty}/w.onnx
convert_checkpoint s3 w.pth
plot_run {empty} {file}
check_imagenet {weights} none
check_imagenet {weights} {file}
check_imagenet {weights} {empty}
prepare_data coco {empty} --base-url http://localhost:9
prepare_data ade20k {empty} --base-url http://localhost:9
demo --quick --out {full}
reproduce 5 --out {file} --evaluate --rows none
reproduce 13 --rows iformer_x
reproduce 5 --rows iformer_x iformer_m
benchmark x
benchmark m:x
benchmark :m
benchmark m --baseline l
benchmark m m:none
benchmark m --device cuda:99
complexity x
complexity none.py
complexity {file}
complexity {empty}
complexity /dev/null
complexity /proc
"""
WHERE = [line.split(maxsplit=1) for line in PLACES.split('\n') if line]


@pytest.mark.parametrize(('tool', 'words'), WHERE)
def test_wrong_places(tool, words, tmp_path, monkeypatch, capsys):
    places = {name: tmp_path / name for name in ('file', 'empty', 'full', 'weights', 'here')}
    for name in ('empty', 'full', 'here'):
        places[name].mkdir()
    places['file'].write_text('a file')
    (places['full'] / 'of something else').write_text('mine')
    checkpoint.save({'model': {'x': torch.ones(1)}}, tmp_path / 'w.pth')
    (tmp_path / 'w.pth').rename(places['weights'])
    monkeypatch.chdir(places['here'])
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    code, said = end(monkeypatch, capsys, tool, words.format(**places).split())
    assert code == 1 and said.startswith('error: ') and len(said) < 3000, (code, said)
    assert places['file'].read_text() == 'a file' and not list(places['here'].iterdir())
