from __future__ import annotations

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
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
