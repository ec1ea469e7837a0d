from __future__ import annotations

import json

import pytest
import torch
from mmengine.structures import InstanceData

from mmiformer.inference.results import PredictionFile, category_ids, to_coco


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
