"""README and docs: links lead somewhere; commands name tools, configs and options that exist; figures are right."""

import re
import shlex
from pathlib import Path

import pytest

from mmiformer.checkpoint import PUBLISHED

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
TOOL = re.compile(r'(?:^|\s)(tools/\w+\.(?:py|sh))\b')


def commands(page: Path) -> list[str]:
    """The lines of code in a page that call a tool, continued ones joined."""
    text = page.read_text().replace('\\\n', ' ')
    blocks = re.findall(r'^```(?:sh)?\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r'^ {4}(\S.*)$', text, re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()] + indented
    return [line for line in lines if TOOL.search(line)]


def options(tool: str) -> set[str]:
    """The long options of a tool, and of the one that a shell script calls."""
    sources = [ROOT / tool, *(ROOT / 'mmiformer' / 'engine').glob('*.py')]
    if tool.endswith('.sh'):
        sources += [ROOT / 'tools' / 'train.py', ROOT / 'tools' / 'test.py']
    return {option for path in sources for option in re.findall(r"'(--[\w-]+)'", path.read_text())}


def test_pages_are_there():
    assert len(PAGES) > 7
    assert sum(len(commands(page)) for page in PAGES) > 15


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r'\]\(([^)#\s]+)', page.read_text()):
        assert target.startswith('https://') or (page.parent / target).exists(), target


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_commands_name_what_exists(page):
    for line in commands(page):
        tool = TOOL.search(line).group(1)
        assert (ROOT / tool).is_file(), line
        words = shlex.split(line, comments=True)
        for word in words:
            if re.fullmatch(r'configs/.*\.py', word):
                assert (ROOT / word).is_file(), line
            if word.startswith('--'):
                assert word.split('=')[0] in options(tool), (word, line)


@pytest.mark.parametrize('name', [name for name, file in PUBLISHED.items() if file.task in ('coco', 'ade20k')])
def test_readme_has_the_published_results(name):
    (row,) = [line for line in (ROOT / 'README.md').read_text().splitlines() if line.startswith('|') and name in line]
    assert {str(value) for value in PUBLISHED[name].result.values()} <= set(re.findall(r'\d+\.\d+', row))
