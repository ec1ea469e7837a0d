"""The ImageNet classification network, so that published weights can be checked (sections 4.1 and B.1)."""

from __future__ import annotations

from torch import Tensor, nn

from .. import checkpoint
from ..errors import UserError
from ..registry import MODELS
from . import loading
from .arch import get_arch
from .classification import Classifier
from .iformer import IFormer
from .layouts import convert, find_arch


class Head(nn.Module):
    """Batch norm and a linear layer on pooled features.

    Args:
        channels: Channels of the features.
        num_classes: Number of classes.
    """

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C) to logits (B, num_classes)."""
        return self.fc(self.norm(x))


@MODELS.register_module()
class IFormerClassifier(Classifier):
    """iFormer with global attention, average pooling and one head or two.

    Args:
        arch: As in :class:`IFormer`.
        num_classes: Number of classes.
        distillation: Whether there is a second head, taught by the teacher's labels (section B.1). The weights called
            `_distill` have it.
        drop_path_rate: As in :class:`IFormer`.
        label_smoothing, teacher, data_preprocessor: Of the training, as in :class:`Classifier`.
        init_cfg: MMEngine's initialization. `dict(type='Pretrained', checkpoint=...)` loads published weights of any
            layout strictly, heads too. Default: truncated normal with std 0.02 for convolutions and linear layers,
            1 and 0 for norms.

    Raises:
        TypeError, ValueError: An argument is not one of those described.

    Example:
        >>> import torch
        >>> from mmiformer.models import IFormerClassifier
        >>> IFormerClassifier('m').eval()(torch.rand(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
    """

    def __init__(
        self,
        arch: str | dict = 'm',
        num_classes: int = 1000,
        distillation: bool = False,
        drop_path_rate: float = 0.0,
        label_smoothing: float = 0.0,
        teacher: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
    ):
        if teacher and not distillation:
            raise ValueError('a teacher teaches the second head: set distillation=True')
        super().__init__(num_classes, label_smoothing, teacher, data_preprocessor, init_cfg)
        channels = get_arch(arch).channels
        self.distillation = distillation
        self.backbone = IFormer(arch, out_indices=(len(channels) - 1,), window_size=None, drop_path_rate=drop_path_rate)
        self.head = Head(channels[-1], num_classes)
        if distillation:
            self.head_dist = Head(channels[-1], num_classes)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        loading.adapt_classifier_state_dict(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def logits(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """As in :class:`Classifier`."""
        features = self.backbone(x)[-1].mean((2, 3))  # (B, C, H, W) -> (B, C)
        logits = self.head(features)
        if not self.distillation:
            return logits
        taught = self.head_dist(features)
        return (logits, taught) if self.training else (logits + taught) / 2


def load_classifier(source: str, trust: bool = False) -> IFormerClassifier:
    """The classifier that a weight file is of, with its weights, in evaluation mode.

    Args:
        source: A path, a URL, or the name of a published file, in any layout.
        trust: As in `mmiformer.checkpoint.load`.

    Raises:
        MissingFile: The file cannot be had.
        UserError: It holds no classifier.
    """
    state_dict = convert(loading.state_dict_of(checkpoint.load(source, trust=trust)), 'mmiformer')
    if 'head.fc.weight' not in state_dict:
        raise UserError(f'{source} holds no classifier, only {len(state_dict)} tensors without a head')
    backbone = loading.under(state_dict, 'backbone.')
    try:
        classifier = IFormerClassifier(
            find_arch(backbone), len(state_dict['head.fc.weight']), distillation='head_dist.fc.weight' in state_dict
        )
    except ValueError as error:
        raise UserError(f'{source} holds no classifier with an iFormer that is known: {error}') from error
    classifier.load_state_dict(state_dict)
    return classifier.eval()
