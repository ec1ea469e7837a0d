"""How many bad inputs the suite tries, as docs/robustness.md says it; the codecs of a machine change it a little."""

import re
from pathlib import Path

import pytest

from ..tampered import tampered
from ..tools.command import REPO
from . import (
    test_at_once,
    test_backbone,
    test_cfg_options,
    test_configs,
    test_data_files,
    test_doors,
    test_environment,
    test_full_disk,
    test_launchers,
    test_places,
    test_small_tools,
    test_tools,
)
from .ending import lines


def options(tool: str) -> int:
    """Wrong command lines of a tool, each counted once."""
    parser = test_tools.parser_of(tool)
    return sum(test_tools.refused(parser, words) for words in test_tools.lines_of(parser))


def places(folder: Path) -> int:
    """Command lines with a file or folder that is not what it should be."""
    found = 0
    for name, (text, make) in test_places.PLACES.items():
        (folder / name).mkdir()
        found += len(lines(text)) * len(make(folder / name))
    return found


def environments() -> int:
    parts = test_environment.PARTS
    return (
        len(parts) * len(test_environment.FAILURES)
        + len(parts) - 1  # folders in their places
        + len(test_environment.wrong_results())
        + len(test_environment.CASES)
    )  # fmt: skip


def small_tools() -> int:
    notes = 4 * len(test_small_tools.NOTES)
    numbers = sum(map(len, test_small_tools.NUMBERS.values()))
    listed = len(test_small_tools.LOGS) + len(test_small_tools.SCENES)
    return notes + numbers + listed + len(lines(test_small_tools.OPTIONS))


@pytest.fixture(scope='module')
def counts(tmp_path_factory) -> dict[str, int]:
    configs = len(test_configs.wrong_files(tmp_path_factory.mktemp('files')))
    files = configs * len(test_tools.CONFIG_TOOLS) + len(test_tools.WHERE) + places(tmp_path_factory.mktemp('places'))
    return {
        'Arguments and images of the backbone': len(test_backbone.CASES) + len(test_backbone.IMAGES),
        'Keys of configs': sum(
            len(test_configs.mistyped(path)) for path in (test_configs.DETECTION, test_configs.SEGMENTATION)
        ),
        'Annotation files, images and label maps': sum(map(len, test_data_files.CASES.values())),
        'Weight files': len(list(tampered())),
        'Weight files, by the tools': len(test_doors.SAMPLE) * len(test_doors.TOOLS),
        'Options that a parser refuses': sum(map(options, test_tools.TOOLS)),
        'Files and folders that a command line names': files,
        '`--cfg-options`, and other values': small_tools()
        + sum(len(lines(text)) for text in test_cfg_options.OPTIONS.values()),
        'Calls of the launchers': sum(len(test_launchers.calls(script)) for script in test_launchers.RIGHT),
        'Environments': environments(),
        'A full disk, two at once': 2 * len(lines(test_full_disk.LINES + test_full_disk.PRINTING))
        + len(lines(test_at_once.LINES)),
    }


def test_the_docs_give_the_counts(counts):
    text = (REPO / 'docs/robustness.md').read_text()
    rows = dict(re.findall(r'^\| ([^|]+?) \| (\d+) \|', text, re.MULTILINE))
    assert all(0.9 * counts[name] < int(rows[name]) <= counts[name] for name in counts), counts
    assert int(rows.pop('All')) == sum(int(rows[name]) for name in counts) >= 1000


def test_each_kind_has_enough(counts):
    for name in ('Arguments and images of the backbone', 'Keys of configs', 'Annotation files, images and label maps'):
        assert counts[name] >= 100
    assert counts['Weight files'] >= 200
