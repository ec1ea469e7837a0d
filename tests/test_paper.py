"""The paper's tables: what its text says of them, where they differ, and the pages that repeat them."""

import re
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from mmiformer import paper
from mmiformer.engine.config import read_config
from mmiformer.paper import FAILED, TABLE_3, TABLE_4, TABLE_5, TABLE_8, TABLE_12, TABLE_13, TABLE_17, TABLE_18
from mmiformer.published import BASELINES, PUBLISHED

ROOT = Path(__file__).parents[1]
TABLES = {number: getattr(paper, f'TABLE_{number}') for number in (3, 4, 5, 8, 12, 13, 18)}
DENSE = {'M': TABLE_5['iFormer-M'], 'L': TABLE_5['iFormer-L'], 'L2': TABLE_13['iFormer-L2']}


def test_size_and_range():
    assert {number: len(table) for number, table in TABLES.items()} == {
        3: 33,
        4: 13,
        5: 17,
        8: 4,
        12: 3,
        13: 12,
        18: 62,
    }
    failed = [(number, name) for number, table in TABLES.items() for name, row in table.items() if FAILED in row]
    assert failed == [(5, 'Swin-T'), (13, 'Swin-T'), (18, 'EMO-5M'), (18, 'MobileViTV2-1.0'), (18, 'CMT-Ti')]
    for row in (*TABLE_5.values(), *TABLE_13.values()):
        assert row.box_AP75 < row.box_AP < row.box_AP50 or row.box_AP < row.box_AP75 < row.box_AP50
        assert row.mask_AP < row.mask_AP75 < row.mask_AP50 and row.mask_AP < row.box_AP
    rows = [row for number in (3, 4, 8, 12, 18) for row in TABLES[number].values()]
    assert all(69 <= row.top1 <= 85 and row.resolution in (None, 160, 224, 240, 256, 260, 288) for row in rows)


def gains(one, other, *fields):
    return [round(getattr(one, field) - getattr(other, field), 1) for field in fields]


def test_what_the_text_says():
    """Sections 1, 4.1 to 4.3, C and F quote differences and ratios of the tables."""
    m, l, l2 = DENSE.values()  # noqa: E741, the paper's names
    assert gains(TABLE_3['iFormer-M'], TABLE_3['MNV4-Conv-M'], 'top1') == [0.5]
    assert gains(TABLE_3['iFormer-M'], TABLE_3['RepViT-M1.1'], 'top1') == [1.0]
    assert round(TABLE_3['FastViT-SA12'].latency / TABLE_3['iFormer-M'].latency, 1) == 1.4
    assert gains(m, TABLE_5['FastViT-SA12'], 'box_AP', 'mask_AP') == [1.9, 2.0]
    assert round(TABLE_5['FastViT-SA12'].latency / m.latency, 2) == 1.32
    assert gains(l, TABLE_5['EfficientMod-S'], 'box_AP', 'mask_AP') == [0.1, 0.6]
    assert round(TABLE_5['EfficientMod-S'].latency / l.latency, 1) == 3.7
    assert gains(l, TABLE_5['ConvNeXt-T'], 'box_AP', 'mask_AP') == [1.2, 1.4]
    assert gains(l, TABLE_5['FastViT-SA24'], 'mIoU') == [3.5]
    assert round(TABLE_5['FastViT-SA24'].latency / l.latency, 2) == 1.36
    assert gains(l, TABLE_5['PVTv2-B1'], 'mIoU') == [2.0] and gains(l, TABLE_5['Swin-T'], 'mIoU') == [3.0]
    assert gains(l2, TABLE_13['EfficientFormerV2-L'], 'mask_AP', 'mIoU') == [0.7, 1.0]
    assert round(TABLE_13['EfficientFormerV2-L'].latency / l2.latency, 1) == 1.4
    assert gains(TABLE_8['iFormer-H'], TABLE_8['ConvNeXt-Base'], 'top1') == [1.0]
    assert round(TABLE_17['Hybrid SHMA', 512] / TABLE_17['CC Hybrid SHMA', 512], 1) == 2.9
    assert TABLE_17['SHMA', 224] == TABLE_3['iFormer-M'].latency and TABLE_17['CC Hybrid SHMA', 512] == m.latency
    # "a 1.0% increase" by distillation holds for Table 18's iFormer-L, not for Table 3's.
    assert gains(TABLE_4['iFormer-L'], TABLE_18['iFormer-L'], 'top1') == [1.0]


def test_where_tables_differ():
    """One network has one figure, but for these."""
    same = {  # tables of the same quantity
        'params': TABLES,
        'gmacs': (3, 8, 18),
        'latency': (3, 4, 12, 18),
        'latency at 512 x 512': (5, 13),
        'top1': (3, 18),
        **dict.fromkeys(('box_AP', 'box_AP50', 'box_AP75', 'mask_AP', 'mask_AP50', 'mask_AP75', 'mIoU'), (5, 13)),
    }
    found = set()
    for quantity, numbers in same.items():
        for one, other in combinations(numbers, 2):
            rows = {name.rstrip('*†'): row for name, row in TABLES[other].items()}
            for name, row in TABLES[one].items():
                if (name := name.rstrip('*†')) in rows:
                    pair = [getattr(row, quantity.split()[0], None) for row in (row, rows[name])]
                    if None not in pair and pair[0] != pair[1]:
                        found.add((name, quantity, one, pair[0], other, pair[1]))
    assert found == {
        ('RepViT-M1.5', 'latency', 3, 1.54, 18, 1.64),
        ('RepViT-M1.5', 'latency', 4, 1.54, 18, 1.64),
        ('iFormer-L', 'top1', 3, 81.9, 18, 81.7),
        ('PoolFormer-S24', 'latency at 512 x 512', 5, 10.0, 13, 12.3),
        ('ConvNeXt-T', 'latency at 512 x 512', 5, 13.6, 13, 12.6),
    }


# ---- pages and metafiles


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip('|').split('|')]


def test_readme():
    text = (ROOT / 'README.md').read_text()
    rows = {row.removeprefix('iFormer-'): rest for row, *rest in map(cells, re.findall(r'^\| iFormer-.*', text, re.M))}
    assert {name: tuple(map(float, row[:9])) for name, row in rows.items()} == {
        name: row[:9] for name, row in DENSE.items()
    }
    for name, row in rows.items():
        files = [PUBLISHED[file] for file in re.findall(r'`(\S+\.pth)`', ' '.join(row))]
        assert [(file.task, file.arch) for file in files] == [('coco', name.lower()), ('ade20k', name.lower())]
        configs = re.findall(r'\((configs/\S+)\)', ' '.join(row))
        assert [read_config(ROOT / config).model.backbone.arch for config in configs] == [name.lower()] * 2


def test_page_on_weights():
    """Every released file, with its figures behind its name."""
    text = (ROOT / 'docs' / 'weights.md').read_text()
    named = {name: figures.split(' / ') for name, figures in re.findall(r'`(iFormer_\w+\.pth)` ([\d./ ]*\d)', text)}
    released = {name: file for name, file in PUBLISHED.items() if name.endswith('.pth')}
    assert {name: list(map(float, figures)) for name, figures in named.items()} == {
        name: list(file.result.values()) for name, file in released.items()
    }


def metrics(model: dict) -> dict[str, float]:
    """All that a model of a metafile has been measured by."""
    return {name: value for one in model['Results'] for name, value in one['Metrics'].items()}


@pytest.mark.parametrize(('task', 'folder'), [('coco', 'mask_rcnn'), ('ade20k', 'sem_fpn')])
def test_metafiles(task, folder):
    models = yaml.safe_load((ROOT / 'configs' / folder / 'metafile.yml').read_text())['Models']
    told = {model['Name'].split('_')[1].upper(): model for model in models if model['Name'].startswith('iformer')}
    told = {name: model for name, model in told.items() if 'Results' in model}
    assert told.keys() == DENSE.keys()
    for name, model in told.items():
        columns = ('box_AP', 'mask_AP') if task == 'coco' else ('mIoU',)
        assert metrics(model) == {column.replace('_', ' '): getattr(DENSE[name], column) for column in columns}
        (file,) = [file for file in PUBLISHED.values() if (file.task, file.arch) == (task, name.lower())]
        assert model['Weights'] in file.urls


def test_metafile_of_imagenet():
    models = yaml.safe_load((ROOT / 'configs/imagenet/metafile.yml').read_text())['Models']
    released = {
        (f'iFormer-{file.arch.upper()}', file.distilled): file
        for file in PUBLISHED.values()
        if file.task == 'imagenet' and file.name.endswith('.pth')
    }
    assert len(models) == len(released) == 8
    for model in models:
        head = (ROOT / model['Config']).read_text().splitlines()[0]  # such as "# iFormer-T, Table 3, published: ..."
        name, number = re.match(r'# (\S+), Table (\d+),', head).groups()
        assert metrics(model) == {'Top 1 Accuracy': TABLES[int(number)][name].top1}
        assert model['Weights'] in released[name, 'distill' in model['Name']].urls


@pytest.mark.parametrize('folder', ['mask_rcnn', 'sem_fpn'])
def test_metafiles_of_baselines(folder):
    """Results only with the weights that they belong to."""
    models = yaml.safe_load((ROOT / 'configs' / folder / 'metafile.yml').read_text())['Models']
    models = [model for model in models if not model['Name'].startswith('iformer')]
    files = {file.config: file for file in BASELINES.values() if file.config.startswith(folder)}
    told = {f'{folder}/{model["Name"]}': model for model in models if model.keys() & {'Results', 'Weights'}}
    assert told.keys() == files.keys() and len(models) > len(files)
    for config, file in files.items():
        assert metrics(told[config]) == {name.replace('_', ' '): value for name, value in file.result.items()}
        assert told[config]['Weights'] == file.urls[0]


def test_published_files():
    """Which table a file's figures come from."""
    top1 = {(file.arch, file.distilled): file.result['top1'] for file in PUBLISHED.values() if file.task == 'imagenet'}
    plain = dict(t=TABLE_3['iFormer-T'], s=TABLE_3['iFormer-S'], m=TABLE_3['iFormer-M'], l=TABLE_3['iFormer-L'])
    distilled = dict(m=TABLE_4['iFormer-M'], l=TABLE_4['iFormer-L'], l2=TABLE_12['iFormer-L2'])
    assert top1 == {
        **{(arch, False): row.top1 for arch, row in (plain | dict(h=TABLE_8['iFormer-H'])).items()},
        **{(arch, True): row.top1 for arch, row in distilled.items()},
    }


def test_published_baselines():
    """Their own figures, against the paper's cells: where a checkpoint is not that of the row's figure."""
    differ = {}
    for name, file in BASELINES.items():
        assert {Path(url).name for url in file.urls} == {file.name} == {name}
        metrics = ('box_AP', 'mask_AP') if file.config.startswith('mask_rcnn/') else ('mIoU',)
        assert tuple(file.result) == metrics
        printed = tuple(getattr(TABLE_5[file.row], metric) for metric in metrics)
        if printed != tuple(file.result.values()):
            differ[file.row] = printed, tuple(file.result.values())
    assert differ == {
        'ResNet50': ((38.0, 34.4), (38.2, 34.7)),
        'Swin-T': ((42.2, 39.1), (42.7, 39.3)),
        'PoolFormer-S12': ((37.2,), (36.68,)),
        'PoolFormer-S24': ((40.3,), (40.12,)),
    }
    assert len({file.config for file in BASELINES.values()}) == 8
