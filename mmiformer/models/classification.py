"""What MMEngine's Runner asks of a classifier: losses, predictions, and a teacher (sections 4.1 and B.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from .. import checkpoint
from ..errors import UserError
from ..registry import MODELS
from . import loading

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's images, RGB, 0 to 1


class Teacher:
    """A classifier that is only asked: in evaluation mode, without gradients, and no part of its student.

    It is no module, so torch finds its weights neither for optimizers nor for checkpoints nor for averages of weights,
    and `train()` does not reach it; a copy of the student shares it. It is built when it is first asked, since nothing
    but training needs it.

    Args:
        config: Config of any classifier of mmpretrain, timm (`mmpretrain.TimmClassifier`) or this project that returns
            logits; its `init_cfg=dict(type='Pretrained', checkpoint=...)` is loaded strictly. It must be made for the
            images that its student sees, normalized as for ImageNet.

    Raises:
        ValueError: The config names no weights.
    """

    def __init__(self, config: dict):
        if (config.get('init_cfg') or {}).get('type') != 'Pretrained':
            raise ValueError(
                "teacher.init_cfg must be dict(type='Pretrained', checkpoint=...): it has to know something"
            )
        self.config = config
        self.network: nn.Module | None = None

    def __deepcopy__(self, memo: dict) -> Teacher:
        return self

    @torch.no_grad()
    def labels(self, images: Tensor, num_classes: int) -> Tensor:
        """Its hard labels (B,) for normalized images (B, 3, H, W).

        Raises:
            UserError: Its weights do not fit it, or it knows other classes than its student.
        """
        if self.network is None:
            self.network = load_teacher(self.config).to(images.device).eval().requires_grad_(False)
        logits = self.network(images)
        if logits.shape[1] != num_classes:
            raise UserError(f'model.teacher knows {logits.shape[1]} classes, and its student has {num_classes}')
        return logits.argmax(1)


def load_teacher(config: dict) -> nn.Module:
    """Build a teacher, with its weights.

    Raises:
        MissingFile: The weights cannot be had.
        UserError: They do not fit it, or it takes images that are normalized otherwise.
    """
    if str(config['type']).startswith('mmiformer.'):
        network = MODELS.build(config)
        network.init_weights()
        return network
    init = config['init_cfg']
    network = MODELS.build({**config, 'init_cfg': None})
    timms = getattr(getattr(network, 'model', None), 'pretrained_cfg', {})
    for name, ours in (('mean', MEAN), ('std', STD)):
        if max(abs(a - b) for a, b in zip(timms.get(name, ours), ours, strict=True)) > 0.01:
            raise UserError(f'model.teacher takes images with {name}={timms[name]}, and its student with {ours}')
    weights = loading.state_dict_of(checkpoint.load(init['checkpoint'], trust=init.get('trust', False)))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:  # keys or shapes
        raise UserError(f'{init["checkpoint"]} does not fit model.teacher: {error}') from error
    return network


class Classifier(loading.PretrainedModule, BaseModel):
    """A classifier that MMEngine's Runner can train and test, on the data sets and by the metrics of mmpretrain.

    A subclass has a `backbone`, heads, and :meth:`logits`.

    Args:
        num_classes: Number of classes.
        label_smoothing: How much of a label is spread evenly over all classes.
        teacher: Config of the classifier that teaches the second head; see :class:`Teacher`.
        data_preprocessor: mmpretrain's `ClsDataPreprocessor`, which normalizes and mixes images.
        init_cfg: MMEngine's initialization. Default: truncated normal with std 0.02 for the linear layers.

    Raises:
        ValueError: An argument is not one of those described.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        label_smoothing: float = 0.0,
        teacher: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
    ):
        if num_classes < 1:
            raise ValueError(f'num_classes={num_classes} must be positive')
        if not 0 <= label_smoothing < 1:
            raise ValueError(f'label_smoothing={label_smoothing} must be at least 0 and under 1')
        if data_preprocessor is not None:
            data_preprocessor = {**data_preprocessor, 'num_classes': num_classes}
        super().__init__(
            data_preprocessor, dict(type='TruncNormal', layer='Linear', std=0.02) if init_cfg is None else init_cfg
        )
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.teacher = Teacher(teacher) if teacher else None

    def logits(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Normalized images (B, 3, H, W) to logits (B, num_classes); of two heads, in training, to both."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, data_samples: Sequence[Any] | None = None, mode: str = 'tensor') -> Any:
        """Classify images.

        Args:
            inputs: Normalized images (B, 3, H, W).
            data_samples: mmpretrain's samples of the images.
            mode: 'tensor', 'loss' or 'predict'.

        Returns:
            Logits (B, num_classes) in mode 'tensor'. With two heads their mean; in training both, the distillation
            head's last. {name: loss} in mode 'loss', and the samples with scores and labels in mode 'predict'.

        Raises:
            ValueError: The mode is another, or in mode 'loss' nobody teaches the second head.
        """
        if mode == 'tensor':
            return self.logits(inputs)
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise ValueError(f"mode={mode!r} must be 'tensor', 'loss' or 'predict'")

    def loss(self, inputs: Tensor, data_samples: Sequence[Any]) -> dict[str, Tensor]:
        """Cross-entropy with smoothed labels, which may be mixed; with a teacher half of it, and half of the second
        head's cross-entropy to the teacher's hard labels."""
        if 'gt_score' in data_samples[0]:  # mixed images have several labels
            target = torch.stack([sample.gt_score for sample in data_samples])  # (B, num_classes)
        else:
            target = torch.cat([sample.gt_label for sample in data_samples])  # (B,)
        logits = self.logits(inputs)
        if not isinstance(logits, tuple):
            return dict(loss=F.cross_entropy(logits, target, label_smoothing=self.label_smoothing))
        if self.teacher is None:
            raise ValueError('the second head learns from a teacher: set model.teacher, or model.distillation=False')
        logits, taught = logits
        labels = self.teacher.labels(inputs, self.num_classes)
        return dict(
            loss_label=0.5 * F.cross_entropy(logits, target, label_smoothing=self.label_smoothing),
            loss_teacher=0.5 * F.cross_entropy(taught, labels),
        )

    def predict(self, inputs: Tensor, data_samples: Sequence[Any]) -> Sequence[Any]:
        """The samples with their scores and labels."""
        for sample, score in zip(data_samples, self.logits(inputs).softmax(1), strict=True):
            sample.set_pred_score(score).set_pred_label(score.argmax(0, keepdim=True))
        return data_samples
