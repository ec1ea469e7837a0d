"""Rows, what is planned for them, and the lines of the table."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from mmiformer.errors import UserError
from mmiformer.paper import TABLE_3, TABLE_4, TABLE_5, TABLE_7, TABLE_8, TABLE_12, TABLE_13
from mmiformer.published import BASELINES
from mmiformer.reproduce.report import COLUMNS, columns, lines_of, write_report, write_table_17
from mmiformer.reproduce.rows import IMAGENET, NUMBERS, TASKS, choose, rows_of
from mmiformer.reproduce.runs import Place, job_script, plan_runs

from ..left_out import needs_extra
from ..tools.command import REPO
from ..tools.in_process import call
from .test_results import RUN


@pytest.mark.parametrize(('table', 'printed'), [(5, TABLE_5), (13, TABLE_13)])
def test_rows_are_those_of_the_paper(table, printed):
    rows = rows_of(table)
    assert {row.title: row.printed for row in rows} == printed
    ours = [row for row in rows if row.key.startswith('iformer_')]
    assert ours and all(set(row.configs) == set(row.checkpoints) == set(TASKS) for row in ours)


@pytest.mark.parametrize(
    ('table', 'printed', 'ours'), [(3, TABLE_3, 'tsml'), (4, TABLE_4, 'ml'), (8, TABLE_8, 'h'), (12, TABLE_12, ['l2'])]
)
def test_rows_of_imagenet_have_what_is_iformers(table, printed, ours):
    rows = rows_of(table)
    assert {row.title: row.printed for row in rows} == printed and all(row.tasks is IMAGENET for row in rows)
    found = {row.key: row for row in rows if row.configs}
    assert set(found) == {f'iformer_{arch}' for arch in ours}
    for row in found.values():
        assert row.configs['imagenet'].is_file() and ('distill' in row.configs['imagenet'].stem) == (table in (4, 12))
        assert row.checkpoints['imagenet'].result == dict(top1=row.printed.top1)


def test_every_ablation_can_be_measured():
    rows = rows_of(7)
    assert {row.title: row.printed for row in rows} == TABLE_7
    tables = {table: rows_of(table) for table in NUMBERS}
    assert {*tables} == {1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 'figure2'}
    assert all(path.is_file() for rows in tables.values() for row in rows for path in row.configs.values())


def test_an_ablation_is_measured(tmp_path, monkeypatch, capsys):
    """At 224 x 224, beside the phone's figure; what has no config, and a runtime that takes no ablation, are told."""
    needs_extra('imagenet')
    measure = ('--measure', '--rounds', 1, '--warmup', 1, '--out', tmp_path)
    assert call(monkeypatch, 'reproduce', '1', '--rows', 'table1_sha', *measure, '--forms', 'plain') is None
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['SHA', 'Baseline', 'paper', '-', '1.12', '79.8'] in lines
    ((_, parameters, seconds),) = [line for line in lines if line[:1] == ['backbone'] and line[1] != 'source']
    assert parameters == '9.54' and float(seconds) > 0
    assert 'one image of 224 x 224' in (tmp_path / 'table1/report.md').read_text()
    assert call(monkeypatch, 'ablation', '--measured', tmp_path) is None
    assert capsys.readouterr().out.splitlines()[2:] == [f'| Table 1 | SHA Baseline | 1.12 | {seconds} |']
    assert 'no measurement' in call(monkeypatch, 'ablation', '--measured', tmp_path / 'table1')
    assert 'none of these rows' in call(monkeypatch, 'reproduce', '1', *measure, '--forms', 'onnx')
    assert 'none of these rows' in call(monkeypatch, 'reproduce', '8', '--rows', 'convnext_base', *measure)


def test_lines_of_imagenet(tmp_path, monkeypatch):
    rows = rows_of(12)
    again = replace(RUN, row='iformer_l2', task='imagenet', kind='evaluated', seed=None, figures=dict(top1=83.7))
    header = columns(rows)
    assert header == ('backbone', 'source', 'params (M)', 'ms', 'top1')
    lines = [dict(zip(header, line.cells, strict=True)) for row in rows for line in lines_of(row, [again])]
    assert [(line['source'], line['top1']) for line in lines] == [
        ('paper', '83.8'),
        ('paper', '83.5'),
        ('paper', '83.9'),
        ('evaluated', '83.7 ≠'),
        ('trained', 'not run'),
    ]
    assert call(monkeypatch, 'reproduce', '12', '--out', tmp_path) is None
    assert (tmp_path / 'table12/report.html').is_file() and (tmp_path / 'table12/latency.png').is_file()


def test_every_published_checkpoint_belongs_to_a_row():
    rows = {row.title: row for row in rows_of(5)}
    for file in BASELINES.values():
        found = [one for one in rows[file.row].checkpoints.values() if one.name == file.name]
        assert [one.result for one in found] == [file.result]


def test_rows_are_chosen_by_key():
    assert [row.key for row in choose(rows_of(5), ['iformer_l', 'resnet50'])] == ['iformer_l', 'resnet50']
    with pytest.raises(UserError, match='iformer_x.*iformer_l'):
        choose(rows_of(5), ['iformer_x'])


def test_lines_tell_published_and_measured_apart():
    (row,) = choose(rows_of(5), ['iformer_m'])
    again = replace(RUN, kind='evaluated', seed=None, figures=dict(mIoU=42.2))
    lines = lines_of(row, [RUN, again])
    cells = {line.cells[1]: dict(zip(COLUMNS, line.cells, strict=True)) for line in lines}
    assert [line.kind for line in lines] == ['paper', 'measured', 'measured']
    assert (cells['paper']['mIoU'], cells['paper']['box AP'], cells['paper']['ms']) == ('42.4', '40.8', '4')
    assert (cells['evaluated']['mIoU'], cells['trained']['mIoU']) == ('42.2 ≠', '42.0')
    assert cells['trained']['box AP'] == cells['evaluated']['box AP'] == 'not run'
    assert [line.kind for line in lines_of(row, [])] == ['paper', 'nothing', 'nothing']


def test_a_checkpoint_is_held_against_its_own_score():
    """mmdet's ResNet-50 has 38.2 / 34.7, the paper prints 38.0 / 34.4."""
    (row,) = choose(rows_of(5), ['resnet50'])
    figures = dict(box_AP=38.2, mask_AP=34.4)
    lines = lines_of(row, [replace(RUN, row='resnet50', task='coco', kind='evaluated', seed=None, figures=figures)])
    cells = {line.cells[1]: dict(zip(COLUMNS, line.cells, strict=True)) for line in lines}
    assert (cells['published']['box AP'], cells['published']['mask AP']) == ('38.2', '34.7')
    assert (cells['evaluated']['box AP'], cells['evaluated']['mask AP']) == ('38.2', '34.4 ≠')
    assert cells['evaluated']['mIoU'] == 'no weights'


def test_mean_and_deviation_of_seeds():
    (row,) = choose(rows_of(5), ['iformer_m'])
    runs = [replace(RUN, seed=seed, figures=dict(mIoU=value)) for seed, value in enumerate((42.0, 42.4))]
    assert lines_of(row, runs)[-1].cells[-1] == '42.2 ± 0.3 (2)'


def test_the_report_lists_all_runs(tmp_path):
    older = replace(RUN, commit='older', figures=dict(mIoU=12.3))
    write_report(tmp_path, 'Table 5', rows_of(5), [RUN, older], [], tmp_path / 'runs')
    page, text = ((tmp_path / f'report.{suffix}').read_text() for suffix in ('html', 'md'))
    for one, used in ((RUN, 'yes'), (older, 'no')):
        assert f'<td>{used}</td><td>{one.figures["mIoU"]}</td><td>{one.config_hash}</td><td>{one.commit}</td>' in page
        assert f'| {used} | {one.figures["mIoU"]} | {one.config_hash} | {one.commit} |' in text
    assert page.count('data:image/png') == 1 and '](latency.png)' in text


def test_table_17_without_a_measurement_has_what_is_printed(tmp_path):
    write_table_17(tmp_path, [])
    assert '| Hybrid SHMA | 512 | 11.46 | not run |' in (tmp_path / 'report.md').read_text()


def test_plans_are_trainings_by_seed_and_evaluations_by_checkpoint(tmp_path):
    rows, place = choose(rows_of(5), ['iformer_l']), Place(tmp_path, REPO / 'tools', gpus=8)
    trainings = plan_runs(rows, list(TASKS), place, 'trained', seeds=3)
    assert [(run.task, run.batch, run.seed) for run in trainings] == [
        (task, batch, seed) for task, batch in (('coco', 16), ('ade20k', 32)) for seed in range(3)
    ]
    assert len({run.folder for run in trainings}) == 6
    plan = trainings[0].plan()
    assert 'dist_train.sh' in plan and '--seed 0 --resume' in plan and '--auto-scale-lr' not in plan
    assert 'iFormer_l_distill.pth is not on this machine' in plan and 'instances_train2017.json is missing' in plan
    assert 'GPU memory: not known; hours: not known' in plan
    replace(RUN, row='iformer_l', hours=5.25, memory=9000, machine=dict(gpus=['G'])).save(place.results / 'one.json')
    assert 'GPU memory: 9000 MB; hours: 5.2' in trainings[3].plan() and 'not known' in trainings[0].plan()

    assert [run.task for run in plan_runs(rows, list(TASKS), place, 'evaluated')] == list(TASKS)
    alone = plan_runs(rows, ['coco'], Place(tmp_path, REPO / 'tools'), 'trained')
    assert alone[0].batch == 2 and '--auto-scale-lr' in alone[0].plan() and alone[0].folder != trainings[0].folder


def test_a_job_does_one_row_and_task(tmp_path, monkeypatch, capsys):
    (tmp_path / 'sbatch').write_text('#!/bin/sh\necho taken $1\n')
    (tmp_path / 'sbatch').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:/usr/bin:/bin')
    options = [
        '--train',
        '--rows',
        'iformer_l',
        'iformer_m',
        '--launcher',
        'slurm',
        '--partition',
        'p',
        '--out',
        tmp_path,
    ]
    assert call(monkeypatch, 'reproduce', 5, *options) is None
    jobs = {path.name: path.read_text() for path in (tmp_path / 'slurm').iterdir()}
    assert set(jobs) == {f'{task}-iformer_{arch}.sh' for task in TASKS for arch in 'ml'}
    job = jobs['ade20k-iformer_m.sh']
    assert '#SBATCH --partition=p' in job and '#SBATCH --gres=gpu:8' in job
    assert '5 --rows iformer_m --tasks ade20k --train --seeds 1 --launcher pytorch --gpus 8' in job
    assert job in capsys.readouterr().out


COMMAND = """import signal, sys, time
def stop(number, frame):
    time.sleep(0.5)
    print('saved', flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print('at work', flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ('number', 'said', 'code'),
    [
        (signal.SIGUSR1, ['saved', 'scontrol requeue 77'], 128 + signal.SIGUSR1),
        (signal.SIGTERM, ['saved'], 128 + signal.SIGTERM),
        (None, [], 0),
    ],
)
def test_a_job_that_is_stopped(number, said, code, tmp_path):
    """With a stand-in for Slurm."""
    (tmp_path / 'scontrol').write_text('#!/bin/sh\necho scontrol $*\n')
    (tmp_path / 'scontrol').chmod(0o755)
    (run,) = plan_runs(choose(rows_of(5), ['iformer_m']), ['coco'], Place(tmp_path, REPO / 'tools', 8), 'trained')
    script = tmp_path / 'job.sh'
    script.write_text(job_script(run, [sys.executable, '-c', COMMAND, 60 if number else 0], 'p', 8))
    assert '#SBATCH --requeue\n' in script.read_text() and '#SBATCH --signal=B:USR1@' in script.read_text()
    job = subprocess.Popen(
        ['bash', script],
        env=os.environ | dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', SLURM_JOB_ID='77'),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdout.readline() == 'at work\n'
    if number:
        job.send_signal(number)
    assert job.communicate(timeout=30)[0].splitlines() == said and job.returncode == code


@pytest.mark.parametrize(
    'arguments', [[], [5, '--smoke'], [17, '--train'], [5, '--train', '--launcher', 'slurm'], [9]], ids=str
)
def test_wrong_arguments(arguments, monkeypatch):
    assert call(monkeypatch, 'reproduce', *arguments) == 2


def test_runs_are_drawn_over_each_other(tmp_path, monkeypatch):
    for name in ('a', 'b'):
        (tmp_path / name / '1/vis_data').mkdir(parents=True)
        (tmp_path / name / '1/vis_data/scalars.json').write_text(
            '{"loss": 1.0, "step": 1}\n{"mIoU": 40.0, "step": 1}\n'
        )
    out = tmp_path / 'curves.png'
    assert call(monkeypatch, 'plot_run', tmp_path / 'a', tmp_path / 'b', '--out', out) is None
    assert out.stat().st_size > 10_000
    assert 'no run' in call(monkeypatch, 'plot_run', tmp_path, '--out', out)
