"""The look that reports share: HTML pages that hold everything they show, tables and figures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from .files import whole_file

# The browser's own colors follow the system's light or dark mode; figures stay on white.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 82em; margin: 2em auto; padding: 0 1em }}
.side {{ display: flex; flex-wrap: wrap; gap: 1em 3em; align-items: flex-start; overflow-x: auto }}
table {{ border-collapse: collapse; margin-top: 1em }}
td {{ white-space: nowrap }}
th, td {{ padding: .2em .9em .2em 0; text-align: right; border-bottom: 1px solid #8886 }}
th:first-child, td:first-child {{ text-align: left }}
.strong td {{ font-weight: 600 }}
.faint td {{ opacity: .6 }}
.picture {{ overflow-x: auto; margin-top: 1.5em }}
img {{ width: 100%; min-width: 48em; background: #fff; border-radius: 6px }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def write_page(path: Path, title: str, *body: str) -> None:
    """Write a page.

    Args:
        path: The HTML file.
        title: Its heading, as text.
        body: What follows, as HTML.
    """
    with whole_file(path) as part:
        part.write_text(_PAGE.format(title=escape(title), body='\n'.join(body)))


def side_by_side(*parts: str) -> str:
    """HTML of parts beside each other, or below each other on a narrow screen."""
    return f'<div class="side">{"".join(parts)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]], kinds: Sequence[str] = ()) -> str:
    """HTML of a table, whose cells are text.

    Args:
        header: The first row.
        rows: The others.
        kinds: Of each row 'strong', 'faint' or ''; by default they look alike.
    """
    rows = list(rows)
    lines = [_row('td', row, kind) for row, kind in zip(rows, kinds or [''] * len(rows), strict=True)]
    return f'<table>{_row("th", header)}{"".join(lines)}</table>'


def _row(tag: str, cells: Sequence[object], kind: str = '') -> str:
    return (
        (f'<tr class="{kind}">' if kind else '<tr>')
        + ''.join(f'<{tag}>{escape(str(cell))}</{tag}>' for cell in cells)
        + '</tr>'
    )


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, whose cells are text, in Markdown."""
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in (header, ('---',) * len(header), *rows))


def picture(png: Path, alt: str) -> str:
    """HTML of a wide PNG, with the file in it. A narrow screen scrolls it, so that its text stays legible."""
    source = f'data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}'
    return f'<div class="picture"><img alt="{escape(alt)}" src="{source}"></div>'


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with whole_file(path) as part:
        figure.savefig(part, format='png', dpi=130)
