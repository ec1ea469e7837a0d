"""What the small tools find in the files that they read, and numbers that they do not take."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmiformer.datasets.shapes import make_dataset

from .ending import cut_off, fault, lines

STEP = '{"step": 1, "loss": 2.0}\n'
# scalars.json of a training that plot_run draws.
LOGS: dict[str, bytes] = {
    'no bytes': b'',
    'spaces': b'  \n\n',
    'zeros': bytes(500),
    'half a line': b'{"step": 1, "lo',
    'binary': bytes(range(256)),
    'a page': b'<!DOCTYPE html>\n',
    'a list': b'[1, 2]\n',
    'a number': b'3\n',
    'text': b'"loss"\n',
    'null': b'null\n',
    'no step': b'{"loss": 2.0}\n',
    'no loss and no result': b'{"step": 1, "lr": 0.1}\n',
    'a step of text': b'{"step": "one", "loss": 2.0}\n',
    'a step of null': b'{"step": null, "loss": 2.0}\n',
    'a step of a list': b'{"step": [1], "loss": 2.0}\n',
    'a loss of text': b'{"step": 1, "loss": "high"}\n',
    'a loss of null': b'{"step": 1, "loss": null}\n',
    'a loss of a dict': b'{"step": 1, "loss": {"a": 1}}\n',
    'an AP of text': b'{"step": 1, "coco/bbox_mAP": "high"}\n',
    'an AP of null': b'{"step": 1, "coco/bbox_mAP": null}\n',
    'an AP of a list': b'{"step": 1, "coco/segm_mAP": [1]}\n',
    'an mIoU of text': b'{"step": 1, "mIoU": "high"}\n',
    'a second line of another kind': (STEP + '[]\n').encode(),
    'a second line without a step': (STEP + '{"loss": 1.0}\n').encode(),
    'UTF-16': STEP.encode('utf-16'),
}


def test_logs_that_are_none(tmp_path, monkeypatch, capsys):
    wrong = {}
    for name, content in LOGS.items():
        file = tmp_path / name / '1/vis_data/scalars.json'
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        if found := fault(monkeypatch, capsys, 'plot_run', [str(tmp_path / name), '--out', str(tmp_path / 'c.png')]):
            wrong[name] = found
    assert not wrong
    assert not (tmp_path / 'c.png').exists()


# ---- scenes
def spoil(name: str, content: str | None) -> Callable[[Path], None]:
    """Replace a file of a data set, or remove it."""

    def change(out: Path) -> None:
        for path in sorted(out.glob(name)):
            path.unlink()
            if content is not None:
                path.write_text(content)

    return change


def in_its_place(name: str) -> Callable[[Path], None]:
    """A folder in the place of a file."""

    def change(out: Path) -> None:
        for path in sorted(out.glob(name)):
            path.unlink()
            path.mkdir()

    return change


MADE_WITH = dict(version=3, images=2, size=64, seed=0)
SCENES: dict[str, Callable[[Path], object]] = {
    **{
        f'shapes.json with {key}={value!r}': spoil('shapes.json', json.dumps({**MADE_WITH, key: value}))
        for key in MADE_WITH
        for value in (None, -1, 'x', [], 1)
    },
    **{f'shapes.json: {text!r}': spoil('shapes.json', text) for text in ('', '{', '[]', 'null', '3', '"x"', '\0')},
    'no shapes.json': spoil('shapes.json', None),
    'shapes.json is a folder': in_its_place('shapes.json'),
    'no images of COCO': spoil('coco/train2017/*', None),
    'no annotations of COCO': spoil('coco/annotations/*', None),
    'a held-out image is gone': spoil('coco/val2017/*', None),
    'no images of ADE20K': spoil('ade/images/training/*', None),
    'no label maps': spoil('ade/annotations/validation/*', None),
    'an image is a folder': in_its_place('ade/images/validation/*'),
}
NUMBERS = {
    '--images': ('0', '1', '-1', '-1000'),
    '--size': ('0', '-64', '4', '60', '63', '65', '66', '127'),
    '--seed': ('-1', '-1000'),
}


def test_scenes_that_are_not_those_asked_for(tmp_path, monkeypatch, capsys):
    wrong, asked = {}, ['--images', '2', '--size', '64']
    for number, (name, change) in enumerate(SCENES.items()):
        out = tmp_path / str(number)
        make_dataset(out, 2, 64)
        change(out)
        before = sorted(out.rglob('*'))
        if found := fault(monkeypatch, capsys, 'make_shapes', [str(out), *asked]):
            wrong[name] = found
        assert sorted(out.rglob('*')) == before
    for option, values in NUMBERS.items():
        for value in values:
            if found := fault(monkeypatch, capsys, 'make_shapes', [str(tmp_path / 'new'), *asked, option, value]):
                wrong[f'{option} {value}'] = found
    assert not wrong
    assert not (tmp_path / 'new').exists()


# ---- what tools note for themselves
NOTES = ('', '{', 'null', '[]', '3', '{"finished": 3}', '\0', '<html>')


@pytest.mark.parametrize('text', NOTES)
def test_notes_that_are_damaged(tmp_path, monkeypatch, capsys, text):
    demo, table = tmp_path / 'demo', tmp_path / 'reproduce'
    demo.mkdir()
    (demo / 'demo.json').write_text(text)
    (table / 'results').mkdir(parents=True)
    (table / 'results' / 'x.json').write_text(text)
    assert fault(monkeypatch, capsys, 'demo', ['--quick', '--out', str(demo)]) is None
    assert fault(monkeypatch, capsys, 'evaluate_exports', [str(demo), '--runtimes', 'onnx']) is None
    assert fault(monkeypatch, capsys, 'reproduce', ['5', '--out', str(table)]) is None
    (demo / 'demo.json').write_text('{"seed": 0, "images": 10, "quick": true}\n')
    (demo / 'steps.json').write_text(text)
    assert fault(monkeypatch, capsys, 'demo', ['--quick', '--out', str(demo)]) is None


# ---- options whose values no parser can judge
OPTIONS = """
check_imagenet {classifier} {images} --device nowhere
check_imagenet {classifier} {images} --device cuda:99
check_imagenet {classifier} {broken} --workers 0
check_imagenet {classifier} {broken} --workers 1
predict {segmentor} {weights} {image} --out {out} --device nowhere
predict {segmentor} {weights} {image} --out {out} --device cuda:99
predict {segmentor} {weights} {image} --out {out} --score-thr 2
predict {segmentor} {weights} {image} --out {out} --score-thr nan
predict {segmentor} {weights} {image} --out {out} --dtype bf16
browse_dataset {segmentor} --data-root {ade} --out {out} --number 0
browse_dataset {segmentor} --data-root {ade} --out {out} --seed -1
check_data {segmentor} --data-root {ade} --out {out} --workers 0
check_data {segmentor} --data-root {ade} --out {out} --workers -1
check_data {segmentor} --data-root {ade} --out {out} --workers 99999
train {segmentor} --data-root {ade} --work-dir {out} --seed -1
train {segmentor} --data-root {ade} --work-dir {out} --vis -1
train {segmentor} --data-root {ade} --work-dir {out} --launcher pytorch
train {segmentor} --data-root {ade} --work-dir {out} --launcher slurm
train {segmentor} --data-root {ade} --work-dir {out} --launcher mpi
train {segmentor} --data-root {ade} --work-dir {out} --amp
train {segmentor} --data-root {ade} --work-dir {out} --auto-scale-lr --cfg-options auto_scale_lr.base_batch_size=0
compare_exports t --to onnx --sizes 999999999 --out {out}
test {segmentor} {weights} --data-root {ade} --work-dir {out} --out {out}/x.txt
test {segmentor} {weights} --data-root {ade} --work-dir {out} --precision int8
test {segmentor} {weights} --data-root {ade} --work-dir {out} --runtime onnx --deploy
test {segmentor} {weights} --data-root {ade} --work-dir {out} --runtime onnx --precision int8
test {segmentor} {weights} --data-root {ade} --work-dir {out} --dtype bf16
export t --to coreml --size 64 --out {out} --what detector
export t --to onnx --size 64 --out {out} --what segmentor
export t --to onnx --size 64 --out {out} --ios 18
export t --to coreml --size 256 --out {out} --dynamic
export t --to onnx --size 64 --out {out} --precision fp16
export t --to openvino --size 64 --out {out} --precision int8
export {segmentor} --to onnx --size 64 --out {out}
serve_page {page} --port {port}
benchmark t:nothing
benchmark t --device cuda:99
benchmark t --sizes 64 --threads 99999999
benchmark_training {segmentor} --data-root {ade} --device cuda:99
reproduce 5 --rows none
reproduce 17 --measure --device cuda:99
evaluate_exports {ade}
"""


@pytest.fixture(scope='module')
def more(right, tmp_path_factory) -> Iterator[dict]:
    """`right`, a folder of classes with an image that is none, and a page whose port is taken."""
    folder = tmp_path_factory.mktemp('more')
    for number in range(6):
        (folder / f'broken/{number}').mkdir(parents=True)
        (folder / f'broken/{number}/1.png').write_text('no image')
    (folder / 'page').mkdir()
    (folder / 'page/index.html').write_text('<!DOCTYPE html>')
    with socket.create_server(('', 0)) as taken:
        yield right | dict(broken=folder / 'broken', page=folder / 'page', port=taken.getsockname()[1])


@pytest.mark.parametrize('line', lines(OPTIONS))
def test_wrong_values(more, tmp_path, monkeypatch, capsys, line):
    monkeypatch.chdir(tmp_path)
    cut_off(monkeypatch, tmp_path / 'cache')
    tool, *words = [word.format(out=tmp_path / 'out', **more) for word in line.split()]
    assert fault(monkeypatch, capsys, tool, words) is None
