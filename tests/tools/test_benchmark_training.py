"""The benchmark of whole models: what it runs, and what it says."""

import re

import pytest
import torch
from PIL import Image

from mmiformer.benchmark.reference import Reference
from mmiformer.models import IFormer
from mmiformer.models.classification import Teacher

from ..left_out import needs_extra
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
    timed = [seen[:3] for seen in sums.values()]  # memory is measured afterwards
    assert len(set(timed[0])) == 3
    for one, other in zip(*timed, strict=True):  # the third too: the weights have not changed
        assert one == pytest.approx(other, rel=1e-3)

    printed = capsys.readouterr().out
    assert '2 batches of 2, cpu, 1 threads' in printed
    figures = dict(re.findall(r'^(\S[^:]*): +([\d.]+)', printed, re.MULTILINE))
    assert 0 < float(figures['training step']) and 0 < float(figures['reading / reading and training step']) < 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ['ade']  # nothing is written


def test_a_distilled_classifier_needs_no_weights_of_its_teacher(tmp_path, monkeypatch, capsys):
    needs_extra('imagenet')
    for number in range(6):
        folder = tmp_path / f'data/imagenet/train/n{number}'
        folder.mkdir(parents=True)
        Image.new('RGB', (64, 48), (40 * number, 0, 0)).save(folder / '0.png')
    asked, labels = [], Teacher.labels
    monkeypatch.setattr(Teacher, 'labels', lambda *args: asked.append(labels(*args)) or asked[-1])
    monkeypatch.setenv('SHAPES_ROOT', str(tmp_path / 'data'))
    options = ('--rounds', 1, '--warmup', 1, '--threads', 1, '--cfg-options', 'train_dataloader.batch_size=3')
    config = REPO / 'configs/imagenet/iformer_t_distill_shapes.py'
    assert call(monkeypatch, 'benchmark_training', config, *options) is None
    assert [len(one) for one in asked[:2]] == [3, 3]  # once a batch: there is no reference form
    printed = capsys.readouterr().out
    assert 'reference' not in printed
    figures = {name: float(value) for name, value in re.findall(r'^(\S[^:]*): +([\d.]+)', printed, re.MULTILINE)}
    seconds, trained = figures['training step'], figures['images trained on in a second']
    assert trained * seconds == pytest.approx(3, rel=0.2)
    memory = figures['memory of a training step']
    assert 3 * 64 * 64 * 3 * 4 / 2**20 < memory < 1000
