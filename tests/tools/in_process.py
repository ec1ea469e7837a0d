"""Running the command lines in the process of the test, which is seconds faster than in one of its own."""

from __future__ import annotations

import runpy
import sys

import pytest

from .command import REPO


def call(monkeypatch: pytest.MonkeyPatch, tool: str, *arguments: object) -> str | int | None:
    """Run `tools/{tool}.py` and return what it ends with: an error message, a status, or None for success."""
    main = runpy.run_path(str(REPO / 'tools' / f'{tool}.py'))['main']
    with monkeypatch.context() as patch:
        patch.setattr(sys, 'argv', [f'{tool}.py', *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            return stop.code
