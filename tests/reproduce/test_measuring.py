"""Measuring the rows' backbones and the attentions of Table 17."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmiformer.benchmark.forms import FORMS
from mmiformer.export import RUNNABLE
from mmiformer.models import ARCHS, IFormer, IFormerClassifier
from mmiformer.reproduce.measuring import (
    L2_LATENCY,
    OURS,
    THEIRS,
    Network,
    attentions,
    backbones,
    build,
    installed,
    measure,
    operators,
)
from mmiformer.reproduce.rows import choose, rows_of

from ..export.here import needs
from ..helpers import TINY
from ..left_out import needs_extra

CPU = torch.device('cpu')


def test_every_row_has_a_backbone_to_measure():
    for table, number in ((5, 17), (13, 12)):
        keys = [network.key for network in backbones(rows_of(table))]
        assert len([key for key in keys if key != 'iformer_l2_latency']) == number
        assert ('iformer_l2_latency' in keys) == (table == 13)


def test_the_network_of_the_printed_latency_is_smaller():
    """22.438 M with its classifier and 22.18 GMACs at 512, where L2 has 24.519 M: counted from the released code."""
    sizes = [sum(p.numel() for p in IFormerClassifier(arch).parameters()) / 1e6 for arch in (L2_LATENCY, 'l2')]
    assert [round(size, 3) for size in sizes] == [22.438, 24.519]


@pytest.mark.parametrize('key', ['resnet18', 'repvit_m1_1'])
def test_folded_peers_are_the_same_network(key):
    """mmdet's own classes, and timm's, which are reparameterized."""
    if key == 'repvit_m1_1':
        needs_extra('peers')
    (row,) = choose(rows_of(5), [key])
    network = Network(key, row.title, lambda: build(row.configs['coco']), THEIRS)
    found = measure([network], [64], rounds=2, warmup=1, device=CPU, graphs=False)
    plain, folded = found['entries']
    assert plain['difference'] == 0 and 0 < folded['difference'] < 1e-4
    assert plain['macs'] == folded['macs'] > 1e7 and plain['size'] == 64
    assert all(len(one['seconds']) == 2 and one['ms'][0] <= one['ms'][1] <= one['ms'][2] for one in (plain, folded))


@pytest.mark.parametrize('runtime', [pytest.param(name, marks=needs(name)) for name in RUNNABLE])
def test_other_runtimes_run_the_same_network(runtime):
    """An iFormer, and a class of mmdet, whose eval() returns None."""
    needs_extra('exports')
    assert runtime in installed()
    (row,) = choose(rows_of(5), ['resnet18'])
    for network in (
        Network('tiny', 'tiny', lambda: IFormer(TINY), [runtime]),
        Network('resnet18', row.title, lambda: build(row.configs['coco']), [runtime]),
    ):
        (found,) = measure([network], [64], 1, 1, CPU, graphs=False)['entries']
        assert 0 < found['difference'] < 1e-4 and found['form'] == runtime


def test_forms_are_chosen():
    rows = choose(rows_of(5), ['iformer_m', 'resnet18'])
    assert [list(network.forms) for network in backbones(rows, ['deploy', 'plain'])] == [['plain', 'deploy'], ['plain']]
    assert [list(network.forms) for network in backbones(rows)] == [[*OURS, *installed()], [*THEIRS, *installed()]]
    assert [list(network.forms) for network in backbones(rows_of(1))] == [list(THEIRS)] * 2  # no runtime takes them


def test_chunks_show_in_the_exported_graph():
    """Windows cut at once need fewer operators than in 16 chunks, and full attention needs none."""
    needs_extra('exports')
    assert [network.key for network in attentions()] == ['SHMA', 'Hybrid SHMA', 'CC Hybrid SHMA']
    whole, hybrid, chunked = (
        sum(operators(IFormer(TINY, **options), 512).values())
        for options in (dict(window_size=None), dict(num_chunks=1), dict(num_chunks=16))
    )
    assert whole < hybrid < chunked


def test_memory_and_operators_are_measured_on_demand():
    needs_extra('exports')
    network = Network('tiny', 'tiny', lambda: IFormer(TINY), ('plain', 'export'))
    plain, export = measure([network], [64], 1, 1, CPU, graphs=True)['entries']
    assert 'operators' not in plain and export['operators']['conv2d.default'] > 10 and 'peak_memory' in plain


def test_the_attentions_have_the_same_weights():
    """So that Table 17 compares the same network."""
    shapes = [{k: v.shape for k, v in network.build().state_dict().items()} for network in attentions()]
    assert shapes[0] == shapes[1] == shapes[2] and ARCHS['m'].triples == (0, 0, 4, 2)


def test_a_network_that_a_runtime_does_not_take_is_named_and_left_out(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError('no such operator\nin a long trace')

    monkeypatch.setattr('mmiformer.reproduce.measuring.FORMS', dict(FORMS, onnx=replace(FORMS['onnx'], make=fail)))
    network = Network('tiny', 'Tiny', lambda: IFormer(TINY), ['plain', 'onnx'])
    found = measure([network], [64], 1, 1, CPU, graphs=False)
    assert [one['form'] for one in found['entries']] == ['plain']
    assert found['facts']['not measured'] == 'Tiny in onnx: no such operator'
