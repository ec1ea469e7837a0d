"""Which results stand in a cell together, and when a figure is too far from the published one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from mmengine.config import Config

from mmiformer.errors import UserError
from mmiformer.reproduce.results import Result, cell, commit, differs, hash_config, read_results

RUN = Result(
    row='iformer_m',
    task='ade20k',
    kind='trained',
    config='iformer_m_40k.py',
    config_hash='aaaaaaaa',
    commit='c1',
    batch=32,
    seed=0,
    images=2000,
    figures=dict(mIoU=42.0),
    machine=dict(gpus=[], processor='a processor'),
    versions={},
    date='2026-11-01',
)


def test_a_cell_is_the_mean_of_seeds():
    runs = [replace(RUN, seed=seed, figures=dict(mIoU=value)) for seed, value in enumerate((41.0, 42.0, 43.0))]
    found = cell(runs, 'iformer_m', 'ade20k', 'trained')
    assert (found.mean['mIoU'], found.deviation['mIoU'], len(found.runs)) == (42.0, 1.0, 3)
    assert (
        cell(runs, 'iformer_m', 'ade20k', 'evaluated') is None and cell(runs, 'iformer_l', 'ade20k', 'trained') is None
    )


@pytest.mark.parametrize('other', [dict(config_hash='b'), dict(commit='c2'), dict(batch=16), dict(images=60)])
def test_what_differs_in_more_than_the_seed_is_never_mixed(other):
    """The newest wins."""
    old = replace(RUN, seed=1, figures=dict(mIoU=10.0), **other)
    assert cell([RUN, old], 'iformer_m', 'ade20k', 'trained').mean == {'mIoU': 42.0}
    assert cell([old, RUN], 'iformer_m', 'ade20k', 'trained').mean == {'mIoU': 10.0}


def test_of_a_seed_that_ran_twice_the_newest_counts():
    found = cell([replace(RUN, figures=dict(mIoU=41.0)), RUN], 'iformer_m', 'ade20k', 'trained')
    assert found.mean == {'mIoU': 41.0} and not found.deviation


@pytest.mark.parametrize(
    ('change', 'value', 'seeds', 'expected'),
    [
        (dict(), 41.4, 1, False),  # 1.0 mIoU for one run
        (dict(), 41.3, 1, True),
        (dict(), 41.5, 3, True),  # 0.8 for the mean of three
        (dict(), 41.6, 3, False),
        (dict(task='coco'), 42.1, 1, False),  # 0.3 AP
        (dict(task='coco'), 42.0, 1, True),
        (dict(task='imagenet'), 42.2, 1, False),  # 0.2 %
        (dict(task='imagenet'), 42.1, 1, True),
        (dict(kind='evaluated'), 42.52, 1, False),  # 0.1 of what the checkpoint has
        (dict(kind='evaluated'), 42.2, 1, True),
        (dict(kind='evaluated'), None, 1, False),
    ],
)
def test_figures_beyond_the_spread_are_marked(change, value, seeds, expected):
    runs = [replace(RUN, seed=seed, figures=dict(mIoU=value), **change) for seed in range(seeds)]
    found = cell(runs, 'iformer_m', runs[0].task, runs[0].kind)
    assert differs(found, 'mIoU', dict(mIoU=42.4)) is expected


def test_results_are_read_newest_first(tmp_path):
    replace(RUN, date='2026-11-02').save(tmp_path / 'a.json')
    replace(RUN, date='2026-11-03', figures=dict(mIoU=float('nan'))).save(tmp_path / 'b.json')
    found = read_results(tmp_path)
    assert [one.date for one in found] == ['2026-11-03', '2026-11-02'] and found[0].figures == {'mIoU': None}
    (tmp_path / 'c.json').write_text(json.dumps(dict(row='x')))
    with pytest.raises(UserError, match='c.json'):
        read_results(tmp_path)


def test_where_the_data_is_does_not_change_the_hash():
    def config(root, **change):
        return Config(dict(data_root=root, data=dict(file=f'{root}annotations/val.json'), lr=1, work_dir=root) | change)

    assert hash_config(config('/a/')) == hash_config(config('/elsewhere/'))
    assert hash_config(config('/a/')) != hash_config(config('/a/', lr=2))


def test_the_commit_is_that_of_the_checkout():
    assert len(commit().rstrip('+')) == 12
