"""README and docs, taken apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


class Block(NamedTuple):
    """Code between fences."""

    language: str
    code: str


def split(text: str) -> tuple[str, list[Block]]:
    """The prose of a page, and its code."""
    fenced = re.compile(r'^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
    return fenced.sub('', text), [Block(*found.groups()) for found in fenced.finditer(text)]
