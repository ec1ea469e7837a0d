"""Two runs on one folder at once: the second is refused, or both end whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmiformer.errors import UserError
from mmiformer.export import Runtime, write
from mmiformer.files import alone_in
from mmiformer.reproduce.rows import choose, rows_of
from mmiformer.reproduce.runs import Place, plan_runs

from ..other_process import at_work
from ..tools.command import REPO
from .ending import cut_off, end, lines

# Where the first one is at work, and the second's command line.
LINES = """
{out} train {segmentor} --data-root {ade} --work-dir {out}
{out} train {segmentor} --data-root {ade} --work-dir {out} --resume
{out} demo --out {out} --quick
{out} demo --out {out} --quick --fresh
{run} reproduce 5 --evaluate --rows iformer_m --tasks coco --out {out}
{out}/smoke reproduce --smoke --out {out}
{out} prepare_data coco {out}
{out} prepare_data ade20k {out}
"""


@pytest.mark.parametrize('line', lines(LINES))
def test_the_second_is_refused(right, tmp_path, monkeypatch, capsys, line):
    monkeypatch.chdir(tmp_path)
    cut_off(monkeypatch, tmp_path / 'cache')
    out = tmp_path / 'out'
    [run] = plan_runs(choose(rows_of(5), ['iformer_m']), ['coco'], Place(out, REPO / 'tools'), 'evaluated')
    place, tool, *words = [word.format(**{**right, 'out': out, 'run': run.folder}) for word in line.split()]
    out.mkdir()
    if tool == 'demo':
        (out / 'demo.json').write_text('{"seed": 0, "images": 10, "quick": true}\n')
    with at_work(Path(place)):
        before = sorted(out.rglob('*'))
        code, said = end(monkeypatch, capsys, tool, words)
    assert code == 1 and said.startswith(f'error: another process is at work in {place}: '), said
    new = {path for path in out.rglob('*') if path.is_file()} - {*before}
    assert new <= {run.folder / 'commit.txt'}


def test_a_folder_is_free_again_when_its_process_is_killed(tmp_path):
    """At once, although a process that it had started lives on."""
    with at_work(tmp_path) as first:
        with pytest.raises(UserError, match='another process is at work'), alone_in(tmp_path):
            pass
        first.kill()
        first.wait()
        with alone_in(tmp_path):
            pass


class Slow(Runtime):
    """Writes two files, with another export in between."""

    def __init__(self, text: str, meanwhile: Runtime | None = None):
        self.text, self.meanwhile = text, meanwhile

    def convert(self, network, image, path, precision, calibration=()):
        path.write_text(self.text)
        if self.meanwhile:
            write(self.meanwhile, network, image, path.parents[1] / path.name, precision)
        path.with_suffix('.bin').write_text(self.text)


def test_two_exports(tmp_path):
    """What stands in the end is of the one that ends last, with no part of the other."""
    write(Slow('first', Slow('second')), None, None, tmp_path / 'network.xml', 'fp32')
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        'network.xml': 'first',
        'network.bin': 'first',
    }
