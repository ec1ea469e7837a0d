"""A full disk, wherever a tool writes: one message, and what was there before stays whole."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver

import pytest
from mmengine.config import Config

from ..tools.in_process import call
from .ending import cut_off, end, lines

# Where an earlier file is, below {out}, and a command line that would write it anew; '-' where there was none.
LINES = """
- make_shapes {out}/shapes --images 2 --size 64
w.pth convert_checkpoint {weights} {out}/w.pth
w.pt convert_checkpoint {weights} {out}/w.pt
w.safetensors convert_checkpoint {weights} {out}/w.safetensors
curves.png plot_run {run} --out {out}/curves.png
check_data.json check_data {segmentor} --data-root {ade} --out {out}
figures.json check_imagenet {classifier} {images} --workers 0 --out {out}/figures.json
figures.json test {segmentor} {weights} --data-root {ade} --work-dir {out}/test --out {out}/figures.json
- train {segmentor} --data-root {ade} --work-dir {out}
- browse_dataset {segmentor} --data-root {ade} --number 1 --out {out}/browse
predictions.json predict {segmentor} {weights} {image} --out {out} --overwrite
pictures/image.jpg predict {segmentor} {weights} {image} --out {out} --overwrite
labels/image.png predict {segmentor} {weights} {image} --out {out} --overwrite
tiny_sem_fpn_backbone_64x64_fp32.onnx export {segmentor} --checkpoint {weights} --to onnx --size 64 --out {out}
- demo --quick --out {out}
table5/report.html reproduce 5 --out {out}
- prepare_data coco {out} --base-url file://{mirror}
"""


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Let no file grow beyond `room` bytes: to whoever writes it is a full disk, but for the number of the error."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize('line', lines(LINES))
def test_a_full_disk(right, tmp_path, monkeypatch, capsys, line):
    """With no room at all, and with little. The copies of its files that MMEngine reads a config from do not count."""
    monkeypatch.chdir(tmp_path)
    cut_off(monkeypatch, tmp_path / 'cache')
    earlier, tool, *words = line.split()
    read = Config.fromfile

    def read_config(path, *arguments, **options):
        with full_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1]):
            return read(path, *arguments, **options)

    monkeypatch.setattr(Config, 'fromfile', read_config)
    forkserver.ensure_running()  # check_data's processes come from it, and importing torch 2.1 writes a file
    for room in (0, 100):
        out = tmp_path / f'out{room}'
        if earlier != '-':
            (out / earlier).parent.mkdir(parents=True)
            (out / earlier).write_text('the earlier one')
        filled = [word.format(**{**right, 'out': out}) for word in words]
        with full_disk(room):
            code, said = end(monkeypatch, capsys, tool, filled)
        assert code == 1 and said.startswith('error: ') and len(said) < 3000 and 'Traceback (' not in said, said
        assert any(reason in said for reason in ('File too large', 'Install it', 'exports need', 'curl ')), said
        if earlier != '-':
            assert (out / earlier).read_text() == 'the earlier one'
        assert not [
            path for path in out.rglob('*') if '.part.' in path.name or path.name.startswith(('.export', '.tmp'))
        ]


# Command lines that print, to a full disk or a pipe that nobody reads.
PRINTING = """
convert_checkpoint {weights} {out}.pth
plot_run {run} --out {out}.png
make_shapes {out} --images 2 --size 64
check_data {segmentor} --data-root {ade} --out {out}
browse_dataset {segmentor} --data-root {ade} --number 1 --out {out}
reproduce 5 --dry-run
"""


@pytest.mark.parametrize('line', lines(PRINTING))
def test_output_that_nobody_takes(right, tmp_path, monkeypatch, capsys, line):
    monkeypatch.chdir(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    for name, file in dict(disk=open('/dev/full', 'w'), pipe=open(writing, 'w')).items():
        tool, *words = [word.format(out=tmp_path / name, **right) for word in line.split()]
        with monkeypatch.context() as patch, file:
            patch.setattr(sys, 'stdout', file)
            assert (
                call(patch, tool, *words)
                == 'error: ' + dict(disk='[Errno 28] No space left on device', pipe='[Errno 32] Broken pipe')[name]
            )
