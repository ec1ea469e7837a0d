from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from mmiformer.errors import UserError
from mmiformer.inference.browsing import to_image
from mmiformer.inference.painter import Painter
from mmiformer.inference.predictor import classes_and_palette
from mmiformer.inference.results import PredictionFile, category_ids, to_coco


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


def test_detections_in_coco_layout(tmp_path):
    mask = torch.zeros(2, 6, 8, dtype=torch.bool)
    mask[0, 1:4, 2:5] = True
    instances = InstanceData(
        bboxes=torch.tensor([[2.0, 1, 5, 4], [0, 0, 8, 6]]), labels=torch.tensor([1, 0]), scores=torch.tensor([0.5, 1])
    )
    ids = category_ids(['cat', 'dog'])
    assert to_coco(instances, ids) == [
        dict(category_id=2, bbox=[2, 1, 3, 3], score=0.5, iscrowd=0, area=9),
        dict(category_id=1, bbox=[0, 0, 8, 6], score=1, iscrowd=0, area=48),
    ]
    instances.masks = mask
    assert [found['area'] for found in to_coco(instances, ids)] == [9, 0]

    path = tmp_path / 'new/predictions.json'
    with pytest.raises(KeyboardInterrupt), PredictionFile(path, {}, []) as file:
        file.add(dict(file_name='a.jpg'), to_coco(instances, ids))
        file.add(dict(file_name='b.jpg'))
        assert not path.exists()
        raise KeyboardInterrupt
    content = json.loads(path.read_text())
    assert [(image['id'], image['file_name']) for image in content['images']] == [(1, 'a.jpg'), (2, 'b.jpg')]
    assert [(found['id'], found['image_id']) for found in content['annotations']] == [(1, 1), (2, 1)]
    assert list(path.parent.iterdir()) == [path]


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


@pytest.mark.parametrize('rgb', [True, False])
def test_the_normalization_is_taken_back(rgb):
    preprocessor = SegDataPreProcessor(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=rgb)
    image = torch.randint(0, 256, (3, 8, 9), dtype=torch.uint8)
    fed = preprocessor(dict(inputs=[image]))['inputs'][0]
    assert np.array_equal(to_image(fed, preprocessor, rgb), image.permute(1, 2, 0).numpy())
