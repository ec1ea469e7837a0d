"""docs/custom_config.md and custom_data.md: their snippets run, their tables and messages are true."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmiformer.checks.data import check_dataset
from mmiformer.checks.facts import compare_facts
from mmiformer.checks.findings import errors
from mmiformer.engine.config import LOADERS
from mmiformer.hub import get_config
from mmiformer.models import IFormer
from mmiformer.models.arch import ARCHS

DOCS = Path(__file__).parents[2] / 'docs'
PAGE = '\n'.join((DOCS / name).read_text() for name in ('custom_config.md', 'custom_data.md'))
SNIPPETS = re.findall(r'^```python\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
IMAGE = np.zeros((40, 60), np.uint8)


def rows(first: str) -> list[list[str]]:
    """The cells of the table whose first column is called `first`, one table after the other if there are several."""
    tables = re.findall(rf'^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)', PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip('|').split('|')] for table in tables for line in table.splitlines()]


def quoted(cell: str) -> list[str]:
    return re.findall(r'`(.+?)`', cell)


def build(cfg: Config, registry: str, part: dict):
    """Build a part of a config as the Runner does, registry 'MODELS' or 'DATASETS'."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return getattr(importlib.import_module(f'{cfg.default_scope}.registry'), registry).build(part)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """A folder with the pages' configs, their other snippets run there, and with data as the pages lay it out."""
    folder = tmp_path_factory.mktemp('page')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for snippet in SNIPPETS:
            if name := re.match(r'# (\w+\.py)\n', snippet):
                Path(name[1]).write_text(snippet)
            else:
                exec(compile(snippet, str(DOCS), 'exec'), {})
        for split in ('train', 'val'):
            for kind in (f'pets/{split}', f'roads/images/{split}', f'roads/labels/{split}'):
                Path('data', kind).mkdir(parents=True)
            cv2.imwrite(f'data/pets/{split}/1.png', IMAGE)
            cv2.imwrite(f'data/roads/images/{split}/1.jpg', IMAGE)
            cv2.imwrite(f'data/roads/labels/{split}/1.png', np.indices(IMAGE.shape)[1] % 3)
            box = dict(id=1, image_id=1, category_id=7, bbox=[2, 3, 9, 9], area=81, iscrowd=0)
            content = dict(
                images=[dict(id=1, file_name='1.png', height=40, width=60)],
                categories=[dict(id=3, name='cat'), dict(id=7, name='dog')],
                annotations=[box],
            )
            Path(f'data/pets/{split}.json').write_text(json.dumps(content))
    return folder


@pytest.fixture
def here(folder, monkeypatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_there_are_these_snippets(here):
    assert sorted(path.name for path in here.glob('*.py')) == [
        'my_retinanet.py',
        'my_upernet.py',
        'pets.py',
        'roads.py',
    ]
    assert len(SNIPPETS) == 5


@pytest.mark.parametrize('name, classes', [('my_retinanet', 80), ('pets', 2), ('roads', 3)])
def test_configs_build(here, name, classes):
    cfg = Config.fromfile(f'{name}.py')
    assert cfg.model.backbone.pop('init_cfg')['checkpoint'] == 'iFormer_m_distill.pth'
    model = build(cfg, 'MODELS', cfg.model)
    assert type(model.backbone) is IFormer
    heads = [head for head in model.children() if hasattr(head, 'num_classes')]
    assert heads and {head.num_classes for head in heads} == {classes}


def test_retinanet_is_the_example(here):
    assert Config.fromfile('my_retinanet.py')._cfg_dict == get_config('examples/retinanet_iformer_m_1x_coco')._cfg_dict


def test_without_delete_building_says_what_the_page_says(here, tmp_path):
    text = Path('my_retinanet.py').read_text()
    changed = re.sub(r' +_delete_=True,  # .*\n', '', text)
    assert changed != text
    (tmp_path / 'wrong.py').write_text(changed)
    cfg = Config.fromfile(tmp_path / 'wrong.py')
    with pytest.raises(TypeError) as caught:
        build(cfg, 'MODELS', cfg.model)
    message, argument = re.search(r"stops with `(.+ argument) '(\w+)'`", PAGE).groups()
    assert message in str(caught.value) and argument in cfg.model.backbone


def test_pets_are_read_with_their_classes(here):
    cfg = Config.fromfile('pets.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert not errors(check_dataset(loader.dataset))
        loader.dataset.update(pipeline=[], filter_cfg=None)
        dataset = build(cfg, 'DATASETS', loader.dataset)
        assert dataset.metainfo['classes'] == ('cat', 'dog')
        assert [box['bbox_label'] for box in dataset[0]['instances']] == [1]
    assert Path(cfg.val_evaluator.ann_file) == Path(cfg.test_evaluator.ann_file) == Path('data/pets/val.json')


@pytest.mark.parametrize('name, head', [('pets', 'bbox_head'), ('roads', 'auxiliary_head')])
def test_another_number_of_classes_is_found(here, name, head):
    cfg = Config.fromfile(f'{name}.py')
    assert {finding.level for finding in compare_facts(cfg, LOADERS)} == {'fact'}
    cfg.model[head].num_classes = 8
    (error,) = errors(compare_facts(cfg, LOADERS))
    assert f'{head}.num_classes=8, but {len(cfg.train_dataloader.dataset.metainfo.classes)} classes' in error.what


def test_message_for_classes_that_do_not_match(here):
    (message,) = re.findall(r'^```text\n(.*?)\n```', PAGE, re.DOTALL | re.MULTILINE)
    dataset = Config.fromfile('pets.py').train_dataloader.dataset
    dataset.metainfo.classes = ('cat', 'dogs')
    (error,) = errors(check_dataset(dataset))
    assert f'{error.what}\n{error.fix}'.replace(str(here), '/home/me') == message


def test_roads_keep_their_labels(here):
    cfg = Config.fromfile('roads.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert not errors(check_dataset(loader.dataset))
        dataset = build(cfg, 'DATASETS', loader.dataset)
        assert dataset.metainfo['classes'] == ('road', 'car', 'rest') and len(dataset) == 1
        with DefaultScope.overwrite_default_scope('mmseg'):
            labels = dataset[0]['data_samples'].gt_sem_seg.data
        assert set(labels.unique().tolist()) == {0, 1, 2}


# Tables


def test_table_of_examples():
    named = {quoted(name)[0] for name, *_ in rows('config')}
    assert named == {path.stem for path in (Path(__file__).parents[2] / 'configs' / 'examples').glob('*.py')}


def test_table_of_channels():
    from mmiformer.published import PUBLISHED

    dense = {file.arch for file in PUBLISHED.values() if file.task != 'imagenet'}
    table = {
        quoted(arch)[0]: (tuple(map(int, channels.split(','))), weights)
        for arch, channels, weights in rows('`arch`')[:6]
    }
    assert table == {name: (arch.channels, 'yes' if name in dense else '') for name, arch in ARCHS.items()}


def test_table_of_arguments():
    parameters = inspect.signature(IFormer).parameters
    table = {quoted(name)[0]: quoted(default)[0] for name, default, _ in rows('argument')}
    assert len(table) == 11
    assert table == {name: repr(parameters[name].default) for name in table}


def class_counts(node, path=()):
    """Every number or list in a model's config that depends on the number of classes, as {dotted path: value}."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in items:
        if key in ('num_classes', 'num_things_classes') or key == 'class_weight' and isinstance(value, list):
            yield '.'.join(map(str, (*path, key))), value
        else:
            yield from class_counts(value, (*path, key))


def test_table_of_the_number_of_classes_names_every_place():
    table = rows('its config')
    recipes = {'mask_rcnn/iformer_m_1x', 'sem_fpn/iformer_m_40k'}
    assert {quoted(name)[0] for name, *_ in table} == recipes | {quoted(name)[0] for name, *_ in rows('config')}
    for name, numbers, weights in table:
        (config,) = quoted(name)
        cfg = get_config(config if config in recipes else f'examples/{config}')
        number = 80 if cfg.default_scope == 'mmdet' else 150
        expected = {key: number for key in quoted(numbers)}
        expected.update({key: [1.0] * number + [0.1] for key in quoted(weights)})
        assert dict(class_counts(cfg.model)) == expected
