"""Public reports of results that were silently wrong, tried with the tools: they stop, and their advice is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmiformer.datasets.shapes import CLASSES, make_dataset

from .command import REPO
from .in_process import call
from .test_evaluation import oracle_config

DETECTOR, SEGMENTOR = (REPO / f'configs/{task}/iformer_t_shapes.py' for task in ('mask_rcnn', 'sem_fpn'))
FILE = 'shapes/coco/annotations/instances_val2017.json'
QUICK = 'test_dataloader.num_workers=0'


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('scenes')
    make_dataset(folder / 'shapes', images=15, size=64)
    return folder / 'shapes'


@pytest.fixture
def here(scenes, tmp_path, monkeypatch) -> Path:
    """A folder with the scenes, a config whose detector knows the truth, and a checkpoint of the classes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'shapes/coco/annotations').mkdir(parents=True)
    for file in (scenes / 'coco/annotations').iterdir():
        (tmp_path / 'shapes/coco/annotations' / file.name).write_bytes(file.read_bytes())
    for split in ('train', 'val'):
        (tmp_path / f'shapes/coco/{split}2017').symlink_to(scenes / f'coco/{split}2017')
    (tmp_path / 'shapes/ade').symlink_to(scenes / 'ade')
    monkeypatch.setenv('SHAPES_ROOT', str(tmp_path / 'shapes'))
    _, weights = oracle_config(tmp_path, 'mask_rcnn/iformer_t_shapes.py', 'OracleDetector')
    torch.save({**torch.load(weights), 'meta': dict(dataset_meta=dict(classes=CLASSES))}, weights)
    return tmp_path


def evaluate(monkeypatch, *options) -> tuple[object, float | None]:
    """What tools/test.py ends with, and the box AP."""
    out = Path('figures.json')
    out.unlink(missing_ok=True)
    said = call(monkeypatch, 'test', 'oracle.py', 'oracle.pth', '--out', out, '--cfg-options', QUICK, *options)
    return said, json.loads(out.read_text())['figures']['box AP'] if out.is_file() else None


def written(name, change) -> str:
    """The annotation file of the validation, changed, under another name."""
    content = json.loads(Path(FILE).read_text())
    change(content)
    path = Path(FILE).with_name(name)
    path.write_text(json.dumps(content))
    return str(path.resolve())


def backwards(content):
    content['categories'].reverse()


def test_class_order_of_two_files(here, monkeypatch):
    said, right = evaluate(monkeypatch)
    assert said is None and right > 20
    written(Path(FILE).name, backwards)
    said, ap = evaluate(monkeypatch)
    assert 'Classes and annotation file do not fit' in said and ap is None
    # Naming the classes in the order of that file, as one might read that, does not lead to a wrong result.
    turned = f'test_dataloader.dataset.metainfo.classes="{CLASSES[::-1]}"'.replace(' ', '')
    said, ap = evaluate(monkeypatch, turned)
    assert 'test_dataloader.dataset: its classes are not those of the checkpoint' in said and ap is None
    assert "the same 6 in another order, label 0 is 'cross' and there 'disc'" in said
    assert 'keep their ids' in said
    written(Path(FILE).name, backwards)  # as it advises
    assert evaluate(monkeypatch) == (None, right)


def test_training_in_the_order_of_one_file_and_validating_in_that_of_the_other(here, monkeypatch):
    written(Path(FILE).name, backwards)
    turned = f'val_dataloader.dataset.metainfo.classes="{CLASSES[::-1]}"'.replace(' ', '')
    said = call(monkeypatch, 'train', DETECTOR, '--work-dir', 'run', '--cfg-options', turned)
    assert said.startswith('error: val_dataloader.dataset: its classes are not those of train_dataloader.dataset')
    assert not Path('run').exists()


def test_the_file_of_the_evaluator(here, monkeypatch):
    whole = len(json.loads(Path(FILE).read_text())['images'])
    mini = written(
        'mini.json',
        lambda content: content.update(
            images=content['images'][:1],
            annotations=[one for one in content['annotations'] if one['image_id'] == content['images'][0]['id']],
        ),
    )
    options = [f'test_dataloader.dataset.ann_file={mini}']
    said, ap = evaluate(monkeypatch, *options)
    assert said.startswith(f'error: test_evaluator: {whole - 1} of the {whole} images') and ap is None
    assert f'Set test_evaluator.ann_file={mini}' in said
    said, ap = evaluate(monkeypatch, *options, f'test_evaluator.ann_file={mini}')  # as it advises
    assert said is None and ap is not None

    said, ap = evaluate(monkeypatch, f'test_evaluator.ann_file={written("backwards.json", backwards)}')
    assert 'come in another order than the classes of test_dataloader.dataset' in said and ap is None
    said, ap = evaluate(monkeypatch, 'test_evaluator.ann_file=none.json')
    assert f'the annotation file is missing: {here}/none.json' in said and ap is None
    said, ap = evaluate(monkeypatch, 'test_dataloader.dataset.indices=1')
    assert 'count as missed' in said and ap is None


RETINANET = """
_base_ = ['../mask_rcnn/iformer_t_shapes.py']
model = dict(
    _delete_=True, type='RetinaNet', backbone=dict(type='mmiformer.IFormer', arch='t'),
    neck=dict(type='FPN', in_channels=[32, 64, 128, 256], out_channels=16, num_outs=5),
    bbox_head=dict(type='RetinaHead', num_classes=5, in_channels=16),
)
val_evaluator = test_evaluator = dict(metric='bbox')
"""


@pytest.mark.parametrize(
    'config, options, heads',
    [
        ('retinanet.py', [], 'bbox_head.num_classes=5, but 6'),
        (
            DETECTOR,
            ['model.roi_head.bbox_head.num_classes=80', 'model.roi_head.mask_head.num_classes=80'],
            'roi_head.bbox_head.num_classes=80, roi_head.mask_head.num_classes=80, but 6',
        ),
        (SEGMENTOR, ['model.decode_head.num_classes=3'], 'decode_head.num_classes=3, but 7'),
        (SEGMENTOR, ['model.decode_head.num_classes=9'], 'decode_head.num_classes=9, but 7'),
    ],
)
def test_heads(here, monkeypatch, config, options, heads):
    Path('retinanet.py').write_text(RETINANET.replace('..', str(REPO / 'configs')))
    torch.save(dict(state_dict={}, meta={}), 'weights.pth')
    options = ['--cfg-options', QUICK, *options]
    for tool, *arguments in (('train', '--work-dir', 'run'), ('test', 'weights.pth'), ('browse_dataset',)):
        said = call(monkeypatch, tool, config, *arguments, *options)
        assert said.startswith('error: model: ') and f'{heads} classes: ' in said
    Path('photo.png').write_bytes(next(Path('shapes/coco/val2017').iterdir()).read_bytes())
    said = call(monkeypatch, 'predict', config, 'weights.pth', 'photo.png', '--out', 'out', *options)
    assert said.startswith('error: model: ')
    assert not Path('run').exists()
