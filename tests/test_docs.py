"""README and docs: links lead somewhere, Python blocks run, figures and versions are right."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner
from packaging.requirements import Requirement
from torch import nn

from mmiformer.engine.config import read_config
from mmiformer.engine.recipe import scale_lr
from mmiformer.published import PUBLISHED

from .pages import PAGES, ROOT, split

README = (ROOT / 'README.md').read_text()
LANGUAGES = {'sh', 'python', 'text', 'bibtex'}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_code_is_in_blocks_with_a_language(page):
    """So that no command hides from these tests."""
    prose, blocks = split(page.read_text())
    assert {block.language for block in blocks} <= LANGUAGES
    assert '```' not in prose and not re.search(r'\n\n {4}\S', prose)
    assert not [line for line in prose.splitlines() if line.count('`') % 2]  # nor across the end of a line


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    prose, _ = split(page.read_text())
    for target, _, heading in (link.partition('#') for link in re.findall(r'\]\((\S+?)\)', prose)):
        if target.startswith('https://'):
            continue
        assert (page.parent / target).exists(), target
        if heading:
            headings = re.findall(r'^#+ (.+)$', split((page.parent / target).read_text())[0], re.MULTILINE)
            assert heading in {re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in headings}, heading


def test_readme_lists_every_page():
    assert set(re.findall(r'\((docs/\w+\.md)\)', README)) == {page.relative_to(ROOT).as_posix() for page in PAGES[1:]}


@pytest.mark.parametrize(
    'name',
    ['README.md', 'docs/ablation.md', 'docs/predict.md', 'docs/tables.md', 'docs/weights.md'],
)
def test_python_blocks(name, tmp_path, monkeypatch):
    """They run. Those of docs/custom_*.md and docs/imagenet.md are run by tests/configs, and no other page has any."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'found').mkdir()
    (tmp_path / 'found/predictions.json').write_text(
        '{"images": [{"id": 1, "height": 2, "width": 3}], "categories": [{"id": 5, "name": "cat"}], "annotations": '
        '[{"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 1, 2], "area": 2, "score": 0.5, "iscrowd": 0, '
        '"segmentation": {"size": [2, 3], "counts": [0, 2, 4]}}]}'
    )
    blocks = [block.code for block in split((ROOT / name).read_text())[1] if block.language == 'python']
    assert blocks
    for code in blocks:
        if '_base_' in code:
            (tmp_path / 'config.py').write_text(code)
            scope = Config.fromfile('config.py')
        else:
            scope, printed = {}, io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code, scope)
            assert name != 'docs/predict.md' or printed.getvalue().endswith('cat 0.5 2\n')
        if model := scope.get('model'):
            assert model['backbone'].pop('init_cfg')['checkpoint'] in PUBLISHED
            backbone = MODELS.build(model['backbone'])
            channels = [info['channels'] for info in backbone.feature_info]
            assert model.get('neck', {}).get('in_channels', channels) == channels


def test_pages_with_python_blocks():
    names = {page.name for page in PAGES if any(block.language == 'python' for block in split(page.read_text())[1])}
    assert names == {
        'README.md',
        'ablation.md',
        'predict.md',
        'weights.md',
        'custom_config.md',
        'custom_data.md',
        'imagenet.md',
        'performance.md',
        'tables.md',
    }


# ---- figures and versions


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip('|').split('|')]


@pytest.mark.parametrize(
    ('columns', 'config'),
    [((1, 2), 'configs/mask_rcnn/iformer_m_1x.py'), ((3, 4), 'configs/sem_fpn/iformer_m_40k.py')],
)
def test_learning_rates_are_what_the_runner_makes_of_the_configs(columns, config):
    table = re.search(r'^\| GPUs \|.*\n\|[-|]+\n((?:\|.*\n)+)', README, re.MULTILINE)[1]
    rows = {int(row[0]): [float(row[column]) for column in columns] for row in map(cells, table.splitlines())}
    assert sorted(rows) == [1, 2, 4, 8]
    for gpus, row in rows.items():
        cfg = read_config(ROOT / config)
        scale_lr(cfg)
        wrapper = build_optim_wrapper(nn.Linear(1, 1), cfg.optim_wrapper)
        loader = cfg.train_dataloader
        runner = SimpleNamespace(
            world_size=gpus, _train_dataloader=loader, param_schedulers=None, logger=logging.getLogger(__name__)
        )
        Runner.scale_lr(runner, wrapper, cfg.auto_scale_lr)
        rates = {group['lr'] for group in wrapper.optimizer.param_groups}
        assert row == [gpus * loader.batch_size, pytest.approx(*rates)]


def pins(name: str, python: str) -> dict[str, str]:
    """{distribution: version} of a requirements file, for a version of Python."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    found = [Requirement(line) for line in lines if '==' in line and not line.startswith('#')]
    chosen = [one for one in found if not one.marker or one.marker.evaluate({'python_version': python})]
    return {one.name: str(one.specifier).removeprefix('==').removesuffix('.*') for one in chosen}


def test_versions_are_those_of_the_requirements():
    rows = {
        row[0]: row[1:]
        for row in map(cells, re.findall(r'^\| [a-zP].*\|$', README.split('## What is tested')[1], re.M))
    }
    tested, original = rows['packages, maintained fork'][0], rows['packages, original'][0]
    for text, name, least in ((tested, 'onedl', 6), (original, 'openmmlab', 5)):
        named = dict(item.split() for item in text.split(', '))
        assert len(named) == least and named.items() <= pins(name, '3.11').items()
    oldest, newest = map(
        int, re.search(r'\(3, (\d+)\) <= .* <= \(3, (\d+)\)', (ROOT / 'Makefile').read_text()).groups()
    )
    others = [f'3.{minor}' for minor in range(oldest, newest + 1) if minor != 11]
    assert rows['Python'] == ['3.11', ', '.join(others)]
    installed = [line for page in PAGES for line in re.findall(r'pip install.*', page.read_text())]
    named = {
        tuple(word.strip("'").removesuffix('.*').split('=='))
        for line in installed
        for word in line.split()
        if '==' in word
    }
    assert len(named) == 3 and named <= pins('onedl', '3.11').items() | pins('onedl', '3.12').items()


def test_versions_by_interpreter_are_those_of_the_requirements():
    table = (ROOT / 'docs/install.md').read_text().split('| Python |')[1].split('\n\n')[0].splitlines()[2:]
    assert {row.split('|')[1].strip(): row.split('|')[2].strip() for row in table} == {
        python: pins('onedl', python)['torch'] for python in ('3.10', '3.11', '3.12', '3.13')
    }
