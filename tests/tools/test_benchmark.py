"""The benchmark's command line, from names to table, JSON and picture."""

import json
import re
import sys

import pytest
import torch

from mmiformer.benchmark.forms import parse

from ..left_out import needs_extra
from .command import REPO, run
from .in_process import call


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_inference_beside_a_peer_of_timm(tmp_path):
    needs_extra('peers')
    names = ('m:reference', 'm', 'resnet18:folded')
    options = ('--sizes', '64', '32x96', '--rounds', 2, '--warmup', 1, '--threads', 1, '--memory', '--baseline', 'm')
    printed = run('benchmark', *names, *options, '--out', 'out', cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['picture.png', 'results.json', 'table.md']
    assert (tmp_path / 'out/table.md').read_text() in printed and 'time / at first size' in printed

    found = json.loads((tmp_path / 'out/results.json').read_text())
    assert found['facts']['threads'] == 1 and found['facts']['what'] == 'infer' and found['facts']['timm']
    assert found['facts']['command'].endswith('--baseline m --out out')
    rows = {(row['name'], row['height'], row['width']): row for row in found['rows']}
    assert set(rows) == {(name, *size) for name in names for size in ((64, 64), (32, 96))}
    for (name, height, width), row in rows.items():
        assert len(row['seconds']) == 2 and min(row['seconds']) > 0
        baseline, first = rows['m', height, width]['seconds'], rows[name, 64, 64]['seconds']
        for what, others in (('ratio', baseline), ('growth', first)):
            pairs = sorted(one / other for one, other in zip(row['seconds'], others, strict=True))
            assert row[what]['median'] == pytest.approx(sum(pairs) / 2)
        median = sum(row['seconds']) / 2
        assert row['of_matmul_peak'] == pytest.approx(row['macs'] / median / found['peaks']['float32'])
        assert row['difference'] < 1e-5 and row['peak_memory'] > 0 and row['kept'] is None
    assert rows['m', 64, 64]['published'] == dict(box_AP=40.8, mask_AP=37.9, mIoU=42.4)
    assert rows['resnet18:folded', 64, 64]['published']['box_AP'] == 34.0


def test_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ('--what', 'train', '--sizes', 64, '--batch', 1, 2, '--rounds', 2, '--warmup', 1, '--threads', 1)
    assert call(monkeypatch, 'benchmark', 't:reference', 't', 't:with_cp', *options, '--out', 'out') is None
    assert 'no picture' in capsys.readouterr().out and not (tmp_path / 'out/picture.png').exists()
    found = json.loads((tmp_path / 'out/results.json').read_text())
    assert [(row['name'], row['batch']) for row in found['rows']] == [
        ('t:reference', 1),
        ('t', 1),
        ('t:with_cp', 1),
        ('t:reference', 2),
        ('t', 2),
        ('t:with_cp', 2),
    ]
    one, _, _, two, _, _ = found['rows']
    assert two['macs'] == 2 * one['macs'] and all(row['difference'] < 1e-5 for row in found['rows'])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['m:deplyo'], 'error: m:deplyo: with --what infer, m has the forms plain, reference, reference-unchunked'),
        (['iformer_m'], "'iformer_m' is none of the networks t, s, m, l, l2, h"),
        (['m', '--baseline', 'l'], 'error: --baseline l is none of what is measured: m'),
        (['m', '--device', 'cuda:99'], 'error: --device cuda:99 is none of the '),
        (['m:deploy', '--what', 'train'], "global, with_cp, compile, bf16, autocast-bf16, autocast-fp16, not 'deploy'"),
    ],
)
def test_wrong_names(monkeypatch, arguments, message):
    assert message in call(monkeypatch, 'benchmark', *arguments)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--sizes', '31'], "'31' is neither a side nor HxW, in pixels from 32 up"),
        (['--sizes', '64x64x64'], 'neither a side nor HxW'),
        (['--rounds', '0'], "'0' is not a whole number from 1 up"),
        (['--device', 'gpu'], "'gpu' is neither cpu nor"),
    ],
)
def test_wrong_options(monkeypatch, capsys, arguments, message):
    assert call(monkeypatch, 'benchmark', *arguments) == 2
    assert message in capsys.readouterr().err


def test_names_in_the_docs():
    lines = re.findall(r'^python tools/benchmark.py (.+)$', (REPO / 'docs/performance.md').read_text(), re.MULTILINE)
    names = [(name, '--what train' in line) for line in lines for name in line.split(' --')[0].split()]
    assert len(names) > 9 and all(parse(*name) for name in names)


def test_ctrl_c(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('mmiformer.benchmark.run.interleave', stop)
    assert call(monkeypatch, 'benchmark', 't', '--sizes', 64, '--threads', 1) == 130
    assert 'stopped: nothing was measured to the end' in capsys.readouterr().err


def test_peers_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    message = call(monkeypatch, 'benchmark', 'm', 'repvit_m1_1')
    assert 'come from timm, which cannot be imported' in message and 'pip install ".[peers]"' in message
