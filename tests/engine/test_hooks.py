from __future__ import annotations

from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmiformer.engine import hooks
from mmiformer.engine.hooks import BrokenData, ValidationPictures
from mmiformer.engine.loops import IterLoop
from mmiformer.errors import UserError


class Sample(dict):
    img_path = ''


class Loader(list):
    dataset = None


@pytest.mark.parametrize(('number', 'batches', 'drawn'), [(3, 10, [0, 3, 6]), (5, 2, [0, 1]), (1, 4, [0])])
@pytest.mark.parametrize('task', ['pred_instances', 'pred_sem_seg'])
def test_the_same_few_pictures_at_each_evaluation(number, batches, drawn, task, tmp_path):
    path = tmp_path / 'image.png'
    mmcv.imwrite(np.full((4, 6, 3), (255, 0, 0), np.uint8), str(path))  # blue, as OpenCV orders the channels
    calls = []

    def add_datasample(name, image, data_sample, step, **options):
        assert image.shape == (4, 6, 3) and image[0, 0].tolist() == [0, 0, 255]
        assert options == (dict(pred_score_thr=0.3) if task == 'pred_instances' else {})
        calls.append((name, step))

    sample = Sample({task: None})
    sample.img_path = str(path)
    hook = ValidationPictures(number)
    for step in (100, 200):
        runner = SimpleNamespace(
            val_dataloader=Loader(range(batches)), visualizer=SimpleNamespace(add_datasample=add_datasample), iter=step
        )
        for index in range(batches):
            hook.after_val_iter(runner, index, outputs=[sample])
    assert calls == [(f'val_{index}', step) for step in (100, 200) for index in drawn]


def test_no_pictures_are_no_hook():
    with pytest.raises(ValueError, match='number=0'):
        ValidationPictures(0)


def test_processes_count_broken_samples_together(monkeypatch):
    """After the same iteration, and stop together."""
    said = []
    loop = IterLoop.__new__(IterLoop)
    loop.broken, loop._dataloader = ['a: cut'], None
    loop.dataloader = SimpleNamespace(dataset=range(100))
    logger = SimpleNamespace(warning=said.append)
    runner = SimpleNamespace(train_loop=loop, iter=0, logger=logger)
    others = [['a: cut', 'b: cut'], []]
    monkeypatch.setattr(hooks, 'is_distributed', lambda: True)
    monkeypatch.setattr(hooks, 'all_gather_object', lambda mine: [mine, *others])
    hook = BrokenData(limit=0.02)
    hook.after_train_iter(runner, 0)
    assert said == []
    runner.iter = hooks.EXCHANGE - 1
    hook.after_train_iter(runner, 0)
    assert [text.partition(' so far: ')[2] for text in said] == ['a: cut', 'b: cut'] and loop.broken == []
    others[1] = ['c: gone']
    with pytest.raises(UserError, match='^3 of 100 samples .*limit=0.02 allows: a: cut, b: cut, c: gone'):
        hook.after_train(runner)


def test_pictures_lie_as_the_network_sees_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (30, 20)).save(tmp_path / 'photo.jpg', exif=exif)
    shapes = []
    sample, loader = Sample(), Loader(range(1))
    sample.img_path = str(tmp_path / 'photo.jpg')
    loader.dataset = SimpleNamespace(pipeline=SimpleNamespace(transforms=[]))
    visualizer = SimpleNamespace(add_datasample=lambda name, image, **options: shapes.append(image.shape[:2]))
    runner = SimpleNamespace(val_dataloader=loader, visualizer=visualizer, iter=1)
    for color_type in ('color', 'color_ignore_orientation'):
        loader.dataset.pipeline.transforms = [LoadImageFromFile(color_type=color_type)]
        ValidationPictures(1).after_val_iter(runner, 0, outputs=[sample])
    assert shapes == [(30, 20), (20, 30)]
