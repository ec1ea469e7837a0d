from __future__ import annotations

import numpy as np
import pytest
import torch
from mmseg.models import SegDataPreProcessor

from mmiformer.inference.browsing import names_and_colors, to_image


@pytest.mark.parametrize('rgb', [True, False])
def test_the_normalization_is_taken_back(rgb):
    preprocessor = SegDataPreProcessor(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=rgb)
    image = torch.randint(0, 256, (3, 8, 9), dtype=torch.uint8)
    fed = preprocessor(dict(inputs=[image]))['inputs'][0]
    assert np.array_equal(to_image(fed, preprocessor, rgb), image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize('palette', [None, [(1, 2, 3)] * 80])
def test_more_classes_than_colors(palette):
    """CocoDataset's palette has 80."""
    names, colors = names_and_colors(dict(classes=tuple(map(str, range(81))), palette=palette))
    assert len(names) == len(colors) == 81 and len(set(map(tuple, colors))) > 70
