"""How many bad inputs the suite tries, as docs/robustness.md says it; the codecs of a machine change it a little."""

import re

import pytest

from ..tampered import tampered
from ..tools.command import REPO
from . import test_backbone, test_configs, test_data_files, test_doors, test_tools


def options(tool: str) -> int:
    """Wrong command lines of a tool, each counted once."""
    parser = test_tools.parser_of(tool)
    return sum(test_tools.refused(parser, words) for words in test_tools.lines_of(parser))


@pytest.fixture(scope='module')
def counts(tmp_path_factory) -> dict[str, int]:
    configs = len(test_configs.wrong_files(tmp_path_factory.mktemp('files')))
    tools = sum(map(options, test_tools.TOOLS)) + len(test_tools.WHERE) + configs * len(test_tools.CONFIG_TOOLS)
    return {
        'Arguments and images of the backbone': len(test_backbone.CASES) + len(test_backbone.IMAGES),
        'Keys of configs': sum(
            len(test_configs.mistyped(path)) for path in (test_configs.DETECTION, test_configs.SEGMENTATION)
        ),
        'Annotation files, images and label maps': sum(map(len, test_data_files.CASES.values())),
        'Weight files': len(list(tampered())),
        'Command lines': tools + len(test_doors.SAMPLE) * len(test_doors.TOOLS),
    }


def test_the_docs_give_the_counts(counts):
    text = (REPO / 'docs/robustness.md').read_text()
    rows = dict(re.findall(r'^\| ([^|]+?) \| (\d+) \|', text, re.MULTILINE))
    assert all(0.9 * counts[name] < int(rows[name]) <= counts[name] for name in counts), counts
    assert int(rows.pop('All')) == sum(int(rows[name]) for name in counts) >= 1000


def test_each_kind_has_enough(counts):
    assert min(counts.values()) >= 100
    assert counts['Weight files'] >= 200
