from __future__ import annotations

import pytest
from mmengine.config import Config

from mmiformer.errors import UserError
from mmiformer.inference.predictor import classes_and_palette


def config(**dataset) -> Config:
    dataset = dict(type='CocoDataset', data_root='nowhere/', ann_file='nothing.json', **dataset)
    return Config(dict(default_scope='mmdet', test_dataloader=dict(dataset=dataset)))


def test_names_and_colors_are_those_of_the_training():
    coco, colors = classes_and_palette(config(), {})
    assert coco[0] == 'person' and len(coco) == len(colors) == 80
    recorded = dict(meta=dict(dataset_meta=dict(CLASSES=('a', 'b'), PALETTE=[(1, 2, 3), (4, 5, 6)])))
    assert classes_and_palette(config(), recorded) == (['a', 'b'], [(1, 2, 3), (4, 5, 6)])
    assert classes_and_palette(config(), dict(meta=dict(CLASSES=('a',))))[0] == ['a']  # checkpoints of mmdet 2

    own = config(metainfo=dict(classes=('thing', 'dog')))
    names, colors_of_own = classes_and_palette(own, dict(meta=None))
    assert names == ['thing', 'dog'] and colors_of_own[1] == colors[coco.index('dog')]
    with pytest.raises(UserError, match='the classes have no names'):
        classes_and_palette(Config(dict(default_scope='mmdet')), {})
