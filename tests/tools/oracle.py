"""Models that know the ground truth and err on purpose: results neither empty nor perfect, without training."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from torch import nn


@MODELS.register_module()
class OracleDetector(BaseModel):
    """Moves boxes and masks, confuses some classes, finds things in crowds and where nothing is."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples, mode):
        for sample in data_samples:
            rng = np.random.default_rng(sample.img_id)
            truth = sample.gt_instances
            crowd = sample.ignored_instances
            masks = np.concatenate([truth.masks.to_ndarray(), crowd.masks.to_ndarray()]).astype(bool)
            labels = np.concatenate([truth.labels, crowd.labels])
            detections = []
            for mask, label in zip(masks, labels, strict=True):
                moved = np.roll(mask, tuple(rng.integers(-3, 4, 2)), (0, 1))
                detections.append((moved, label if rng.random() < 0.8 else (label + 1) % 3, rng.random()))
            left = masks[-1] & (np.arange(masks.shape[2]) < 40)
            detections += [(left, labels[-1], 0.9), (np.roll(masks[0], 10, 1), 2, 0.8)]
            boxes = []
            for mask, _, _ in detections:
                rows, columns = np.nonzero(mask)
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(np.array(boxes), dtype=torch.float32),
                labels=torch.tensor([int(label) for _, label, _ in detections]),
                scores=torch.tensor([score for _, _, score in detections]),
                masks=torch.tensor(np.stack([mask for mask, _, _ in detections])),
            )
        return data_samples


@MODELS.register_module()
class OracleSegmentor(BaseModel):
    """Errs in some blocks of the image, and has an opinion on ignored pixels too."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples, mode):
        for number, sample in enumerate(data_samples):
            truth = sample.gt_sem_seg.data[0].numpy()
            rng = np.random.default_rng([number, *truth.shape])
            blocks = rng.random(tuple(-(-side // 4) for side in truth.shape)) < 0.3
            wrong = np.kron(blocks, np.ones((4, 4), bool))[: truth.shape[0], : truth.shape[1]]
            guess = rng.choice([0, 1, 7, 60, 149], truth.shape)
            answer = np.where(wrong | (truth == 255), guess, truth)
            sample.set_data(dict(pred_sem_seg=PixelData(data=torch.tensor(answer)[None].long())))
        return data_samples
