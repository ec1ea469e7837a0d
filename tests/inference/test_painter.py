from __future__ import annotations

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from mmiformer.inference.painter import Painter


def test_labels_are_drawn_where_mmseg_draws_them():
    rng = np.random.default_rng(0)
    label = cv2.resize(rng.integers(0, 5, (4, 5), dtype=np.uint8), (90, 70), interpolation=cv2.INTER_NEAREST)
    sample = SegDataSample(pred_sem_seg=PixelData(data=torch.from_numpy(label)[None]))
    image = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    names, palette = list('abcde'), rng.integers(0, 256, (5, 3)).tolist()
    theirs = SegLocalVisualizer(alpha=0.6)
    theirs.set_dataset_meta(names, palette)
    theirs.add_datasample('', image[..., ::-1].copy(), sample)
    drawn = Painter('mmseg', names, palette).predictions(image, sample, 0.3)
    assert np.array_equal(drawn[..., ::-1], theirs.get_image())


def test_gray_images_are_drawn_as_gray_ones_of_three_channels():
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    sample = SegDataSample(pred_sem_seg=PixelData(data=torch.from_numpy(gray)[None] // 128))
    painter = Painter('mmseg', ['a', 'b'], [(9, 8, 7), (200, 100, 0)])
    expected = painter.predictions(np.dstack([gray] * 3), sample, 0.3)
    for image in (gray, gray[..., None], gray.astype(np.uint16) * 257):
        assert np.abs(painter.predictions(image, sample, 0.3).astype(int) - expected).max() <= 1

    found = InstanceData(bboxes=torch.tensor([[5.0, 5, 30, 20]]), labels=torch.tensor([1]), scores=torch.tensor([0.9]))
    sample = DetDataSample(pred_instances=found, gt_instances=found)
    painter = Painter('mmdet', ['a', 'b'], [(9, 8, 7), (200, 100, 0)])
    for draw in (
        lambda image: painter.predictions(image, sample, 0.3),
        lambda image: painter.annotations(image, sample),
    ):
        assert np.array_equal(draw(gray), draw(np.dstack([gray] * 3)))
