"""The benchmark of whole models: what it runs, and what it says."""

import re

import pytest
import torch

from mmiformer.benchmark.reference import Reference
from mmiformer.models import IFormer

from .command import REPO
from .in_process import call
from .made_data import make_ade
from .test_train_and_test import SMALL_ADE

SEM_FPN = REPO / 'configs/sem_fpn/iformer_t_40k.py'


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_both_forms_do_the_same_batches(tmp_path, monkeypatch, capsys):
    make_ade(tmp_path / 'ade')
    sums = {IFormer: [], Reference: []}
    for kind, seen in sums.items():
        forward = kind.forward

        def spy(self, x, forward=forward, seen=seen):
            maps = forward(self, x)
            seen.append((x.sum().item(), maps[-1].sum().item()))
            return maps

        monkeypatch.setattr(kind, 'forward', spy)
    monkeypatch.chdir(tmp_path)
    options = ('--rounds', 2, '--warmup', 1, '--threads', 1, '--cfg-options', *SMALL_ADE)
    assert call(monkeypatch, 'benchmark_training', SEM_FPN, '--data-root', 'ade', *options) is None
    assert len(sums[IFormer]) == 3 and len(set(sums[IFormer])) == 3
    for one, other in zip(*sums.values(), strict=True):  # the third too: the weights have not changed
        assert one == pytest.approx(other, rel=1e-3)

    printed = capsys.readouterr().out
    assert '2 batches of 2, cpu, 1 threads' in printed
    figures = dict(re.findall(r'^(\S[^:]*): +([\d.]+)', printed, re.MULTILINE))
    assert 0 < float(figures['training step']) and 0 < float(figures['reading / reading and training step']) < 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ['ade']  # nothing is written


def test_other_networks_have_no_reference_form(tmp_path, monkeypatch):
    make_ade(tmp_path / 'ade')
    options = ('--data-root', tmp_path / 'ade', '--cfg-options', *SMALL_ADE, 'model.backbone.norm_eval=False')
    message = call(monkeypatch, 'benchmark_training', SEM_FPN, *options)
    assert 'norm_eval=True' in message and "'norm_eval': False" in message
