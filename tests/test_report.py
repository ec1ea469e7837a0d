"""Pages that hold all that they show."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

from matplotlib.figure import Figure
from PIL import Image

from mmiformer.report import picture, save_figure, side_by_side, table, write_page


def test_page(tmp_path):
    """Text is escaped, tags are balanced, the figure is inside, and nothing is fetched from anywhere."""
    save_figure(Figure(figsize=(2, 1)), tmp_path / 'figure.png')
    assert Image.open(tmp_path / 'figure.png').size == (260, 130)
    write_page(
        tmp_path / 'page.html',
        'A <b> & C',
        side_by_side(table(['name', '%'], [['x < y', 12.5]]), '<p>beside</p>'),
        picture(tmp_path / 'figure.png', 'what "it" shows'),
    )
    page = (tmp_path / 'page.html').read_text()
    assert '<h1>A &lt;b&gt; &amp; C</h1>' in page and '<td>x &lt; y</td><td>12.5</td>' in page
    assert base64.b64decode(re.search(r'base64,([^"]+)"', page)[1]) == (tmp_path / 'figure.png').read_bytes()
    assert not re.search(r'(src|href)="(?!data:)', page) and 'url(' not in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ['figure.png', 'page.html']

    class Tags(HTMLParser):
        opened, alts = [], []

        def handle_starttag(self, tag, attributes):
            self.alts += [value for name, value in attributes if name == 'alt']
            if tag not in ('meta', 'img'):
                self.opened.append(tag)

        def handle_endtag(self, tag):
            assert self.opened.pop() == tag

    tags = Tags()
    tags.feed(page)
    assert not tags.opened and tags.alts == ['what "it" shows']
