"""Files and folders that are missing, are not what a command line takes them for, or cannot be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .ending import cut_off, fault, lines

PRETRAINED = 'model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint='
# Where a command line takes weights, a folder to read, a file to write and a folder to fill: {bad}.
WEIGHTS = """
convert_checkpoint {bad} {out}/w.pth
check_imagenet {bad} {images}
test {segmentor} {bad} --data-root {ade} --work-dir {out}
predict {segmentor} {bad} {image} --out {out}
train {segmentor} --data-root {ade} --work-dir {out} --resume {bad}
train {segmentor} --data-root {ade} --work-dir {out} --cfg-options load_from={bad}
train {segmentor} --data-root {ade} --work-dir {out} --cfg-options {pretrained}{bad}
export t --checkpoint {bad} --to onnx --size 64 --out {out}
export t --what classifier --checkpoint {bad} --to onnx --size 64 --out {out}
export {segmentor} --checkpoint {bad} --to onnx --size 64 --out {out}
compare_exports t --checkpoint {bad} --to onnx --sizes 64 --out {out}
head_similarity {network} {bad} {image} --out {out}.png
"""
FOLDERS = """
train {segmentor} --work-dir {out} --data-root {bad}
test {segmentor} {weights} --work-dir {out} --data-root {bad}
test {segmentor} {weights} --work-dir {out} --data-root {ade} --runtime onnx --precision int8 --calibrate {bad}
browse_dataset {segmentor} --out {out} --data-root {bad}
benchmark_training {segmentor} --data-root {bad}
check_imagenet {classifier} {bad}
predict {segmentor} {weights} {bad} --out {out}
export t --to onnx --size 64 --out {out} --photos {bad}
export t --to openvino --precision int8 --size 64 --out {out} --calibrate {bad}
compare_exports t --to onnx --sizes 64 --out {out} --photos {bad}
head_similarity {network} {weights} {bad} --out {out}.png
plot_run {bad} --out {out}.png
evaluate_exports {bad}
serve_page {bad}
prepare_data imagenet {bad}
"""
FILES = """
convert_checkpoint {weights} {bad}.pth
convert_checkpoint {weights} {bad}.safetensors
plot_run {run} --out {bad}.png
check_imagenet {classifier} {images} --out {bad}.json
test {segmentor} {weights} --data-root {ade} --work-dir {out} --out {bad}.json
head_similarity {network} {weights} {image} --out {bad}.png
"""
TO_FILL = """
make_shapes {bad} --images 2 --size 64
demo --quick --out {bad}
reproduce 5 --evaluate --rows iformer_m --tasks coco --out {bad}
export t --to onnx --size 64 --out {bad}
compare_exports t --to onnx --sizes 64 --out {bad}
benchmark t --sizes 64 --rounds 1 --warmup 1 --out {bad}
check_data {segmentor} --data-root {ade} --out {bad}
browse_dataset {segmentor} --data-root {ade} --number 1 --out {bad}
predict {segmentor} {weights} {image} --out {bad}
train {segmentor} --data-root {ade} --work-dir {bad}
test {segmentor} {weights} --data-root {ade} --work-dir {bad}
test {segmentor} {weights} --data-root {ade} --work-dir {out} --dump {bad}
prepare_data coco {bad}
prepare_data ade20k {bad}
"""


def odd(folder: Path, suffix: str = '') -> dict[str, str]:
    """What may stand in the place of a file or a folder and is neither."""
    file = folder / 'file'
    file.write_text('a file')
    (folder / f'dangling{suffix}').symlink_to(folder / 'nothing')
    (folder / f'loop{suffix}').symlink_to(folder / f'loop{suffix}')
    os.mkfifo(folder / f'pipe{suffix}')
    return {
        'missing': str(folder / f'missing{suffix}'),
        'below a file': str(file / f'x{suffix}'),
        'a dangling link': str(folder / f'dangling{suffix}'),
        'a link to itself': str(folder / f'loop{suffix}'),
        'a pipe': str(folder / f'pipe{suffix}'),
        'a name too long': str(folder / f'{"x" * 300}{suffix}'),
        'a home that is none': f'~nobody_at_all/x{suffix}',
        'a device': '/dev/null',
        'a line break': f'a\nb{suffix}',
    }


def no_weights(folder: Path) -> dict[str, str]:
    contents = dict(
        empty=b'',
        text=b'weights',
        page=b'<!DOCTYPE html><html></html>',
        zeros=bytes(1000),
        pointer=b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 448783729\n',
        header=b'\x08' + bytes(7) + b'{"w": 3}',
        archive=b'PK\x05\x06' + bytes(18),
        pickle=b'\x80\x02}q\x00.',
        start=b'PK\x03\x04',
    )
    for name, content in contents.items():
        (folder / f'{name}.pth').write_bytes(content)
    return odd(folder, '.pth') | {
        **{name: str(folder / f'{name}.pth') for name in contents},
        'a folder': str(folder),
        'unreadable': '/proc/self/mem',
        'a name that none has': 'iFormer_x.pth',
        'a model that a zoo lacks': 'open-mmlab://none',
        'another zoo': 'torchvision://none',
        'a scheme that there is not': 'ftp://localhost/w.pth',
        'a server that does not answer': 'http://localhost:9/w.pth',
        'no address': 'https://',
        'a published name, without a network': 'iFormer_t.pth',
        'a name on the hub, without a network': 'https://huggingface.co/timm/iformer_t/resolve/main/model.safetensors',
    }


def no_data(folder: Path) -> dict[str, str]:
    (folder / 'empty').mkdir()
    (folder / 'notes').mkdir()
    (folder / 'notes' / 'read.me').write_text('to do')
    (folder / 'nested').mkdir()
    (folder / 'nested' / 'images').mkdir()
    return odd(folder) | {
        'a file': str(folder / 'file'),
        'empty': str(folder / 'empty'),
        'other files': str(folder / 'notes'),
        'a folder of an empty one': str(folder / 'nested'),
    }


def no_file(folder: Path) -> dict[str, str]:
    """Without the suffix."""
    (folder / 'file').write_text('a file')
    for suffix in ('.pth', '.safetensors', '.png', '.json'):
        (folder / f'folder{suffix}').mkdir()
    return {
        'a folder': str(folder / 'folder'),
        'below a file': str(folder / 'file' / 'x'),
        'deep below a file': str(folder / 'file' / 'x' / 'y'),
        'a name too long': str(folder / ('x' * 300)),
        'a folder too long': str(folder / ('x' * 300) / 'x'),
        'below the kernel': '/proc/x',
        'below the devices': '/sys/x',
        'a folder of the kernel': '/proc/x/y/z',
    }


def no_room(folder: Path) -> dict[str, str]:
    (folder / 'file').write_text('a file')
    (folder / 'loop').symlink_to(folder / 'loop')
    return {
        'a file': str(folder / 'file'),
        'below a file': str(folder / 'file' / 'x'),
        'deep below a file': str(folder / 'file' / 'x' / 'y'),
        'a name too long': str(folder / ('x' * 300)),
        'a parent too long': str(folder / ('x' * 300) / 'x'),
        'below the kernel': '/proc/x',
        'deep below the kernel': '/proc/x/y',
        'below the devices': '/sys/x',
        'a device': '/dev/null',
        'below a device': '/dev/null/x',
        'below a link to itself': str(folder / 'loop' / 'x'),
    }


PLACES = dict(weights=(WEIGHTS, no_weights), folder=(FOLDERS, no_data), file=(FILES, no_file), room=(TO_FILL, no_room))


@pytest.mark.parametrize(
    ('place', 'line'), [(place, line) for place, (text, _) in PLACES.items() for line in lines(text)]
)
def test_wrong_places(right, tmp_path, monkeypatch, capsys, place, line):
    for name in ('bad', 'here'):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    cut_off(monkeypatch, tmp_path / 'cache')
    wrong = {}
    for name, bad in PLACES[place][1](tmp_path / 'bad').items():
        words = line.replace('{pretrained}', PRETRAINED).split()
        tool, *words = [word.format(bad=bad, out=tmp_path / 'out', **right) for word in words]
        if found := fault(monkeypatch, capsys, tool, words):
            wrong[name] = found
    assert not wrong
    assert (tmp_path / 'bad' / 'file').read_text() == 'a file'
