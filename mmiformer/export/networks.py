"""What is exported: a backbone, a classifier, a segmentor, a detector or its heads as one function to tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from ..models import IFormer, IFormerClassifier, export_form
from ..models.export_form import fold_heads

# ImageNet's mean and standard deviation of R, G and B, on a scale of 0 to 255, with which all networks were trained.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Network:
    """What a runtime converts.

    Attributes:
        module: Maps images (B, 3, H, W) to a tuple of tensors.
        outputs: Their names.
        about: What the file says of itself, {key: text}.
        image: Whether the input is an RGB image from 0 to 255 instead of a normalized one.
        expected: Computes from images what the model itself does, as torch has it, to hold the module against.
        classes: Names, where the model knows them.
        palette: A color (R, G, B), 0 to 255, for each class.
        mean: Of the channels, which an image is normalized with.
        std: Their standard deviation.
        channels: Which of R, G and B each channel of the input is.
        cut: Makes of normalized images what a head of a detector takes, any number of crops of maps; None where the
            input is the image.
    """

    module: nn.Module
    outputs: tuple[str, ...]
    about: dict[str, str] = field(default_factory=dict)
    image: bool = False
    expected: Callable[[Tensor], tuple[Tensor, ...]] | None = None
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    channels: tuple[int, ...] = (0, 1, 2)
    cut: Callable[[Tensor], Tensor] | None = None


class Normalized(nn.Module):
    """A network behind the normalization of its images.

    Args:
        network: Maps normalized images to a tuple of tensors.
    """

    def __init__(self, network: Callable[[Tensor], tuple[Tensor, ...]]):
        super().__init__()
        self.network = network
        self.register_buffer('mean', torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer('std', torch.tensor(STD).view(3, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map RGB images (B, 3, H, W) from 0 to 255 to what the network returns."""
        return self.network((image - self.mean) / self.std)


class Classifier(nn.Module):
    """A classifier on an export form, its head or the mean of both as one linear layer."""

    def __init__(self, classifier: IFormerClassifier, **form: object):
        super().__init__()
        self.form, self.head = export_form(classifier.backbone, **form), fold_heads(classifier)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Map images (B, 3, H, W) to logits (B, classes)."""
        return (self.head(self.form(x)[-1].mean((2, 3))),)


class Logits(nn.Module):
    """A segmentor of mmseg up to the logits of its head."""

    def __init__(self, segmentor: nn.Module, **form: object):
        super().__init__()
        self.form, self.head = export_form(segmentor.backbone, **form), copy.deepcopy(segmentor.decode_head)
        self.neck = segmentor.neck if segmentor.with_neck else nn.Identity()
        for part in list(self.head.modules()):  # mmseg's Upsample takes int(side * 2.0), a fixed number in a graph
            for name, child in part.named_children():
                if type(child).__name__ == 'Upsample' and child.scale_factor and not child.size:
                    setattr(part, name, nn.Upsample(None, child.scale_factor, child.mode, child.align_corners))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Map images (B, 3, H, W) to logits (B, classes, H / 4, W / 4) of Semantic FPN."""
        return (self.head(self.neck(self.form(x))),)


class LabelMap(nn.Module):
    """A segmentor whose logits are resized to the image's size, and the best class taken."""

    def __init__(self, segmentor: nn.Module, **form: object):
        super().__init__()
        self.logits, self.align_corners = Logits(segmentor, **form), segmentor.align_corners

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Map images (B, 3, H, W) to labels (B, H, W)."""
        logits = F.interpolate(self.logits(x)[0], x.shape[2:], mode='bilinear', align_corners=self.align_corners)
        return (logits.argmax(1),)


class Detector(nn.Module):
    """A two-stage detector of mmdet up to the maps that its proposals are chosen from.

    Choosing proposals and cutting them out of the maps are operators of mmcv with as many results as an image has
    objects; box and mask heads work on what they return, see `Head`.
    """

    def __init__(self, detector: nn.Module, **form: object):
        super().__init__()
        self.form, self.neck, self.rpn = export_form(detector.backbone, **form), detector.neck, detector.rpn_head

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to the neck's maps, then scores, then box deltas, level by level."""
        maps = self.neck(self.form(x))
        scores, deltas = self.rpn(maps)
        return (*maps, *scores, *deltas)


class Head(nn.Module):
    """The box or mask head of a two-stage detector of mmdet."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = copy.deepcopy(head)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map crops (N, C, S, S) to class scores and box deltas (N, ...), or to masks (N, classes, 2S, 2S)."""
        outputs = self.head(x)
        return outputs if isinstance(outputs, tuple) else (outputs,)


def _backbone(model: nn.Module, **form: object) -> Network:
    backbone = model if isinstance(model, IFormer) else model.backbone
    names = tuple(f'stage{index + 1}' for index in backbone.out_indices)
    return Network(export_form(backbone, **form), names, expected=backbone)


def _classifier(model: nn.Module, **form: object) -> Network:
    return Network(Classifier(model, **form), ('logits',), expected=lambda x: (model(x),))


def _segmentor(model: nn.Module, **form: object) -> Network:
    def labels(x: Tensor) -> tuple[Tensor]:
        return (model.encode_decode(x, [dict(img_shape=x.shape[2:])] * len(x)).argmax(1),)

    return Network(LabelMap(model, **form), ('labels',), expected=labels)


def _detector(model: nn.Module, **form: object) -> Network:
    def maps_and_proposals(x: Tensor) -> tuple[Tensor, ...]:
        maps = model.extract_feat(x)
        return (*maps, *sum(map(list, model.rpn_head(maps)), []))

    levels = range(2, 2 + model.neck.num_outs)
    names = tuple(f'{kind}{level}' for kind in ('p', 'scores', 'deltas') for level in levels)
    return Network(Detector(model, **form), names, expected=maps_and_proposals)


# Boxes to compare heads on: x and y of the upper left and the lower right corner, of an image of 1 x 1.
BOXES = ((0, 0, 1, 1), (0, 0, 0.5, 0.4), (0.2, 0.3, 0.5, 0.9), (0.4, 0.4, 0.5, 0.5), (0.9, 0.1, 1, 0.2))


def _head(model: nn.Module, name: str, outputs: tuple[str, ...], **form: object) -> Network:
    head, cutter = Head(getattr(model.roi_head, f'{name}_head')), getattr(model.roi_head, f'{name}_roi_extractor')

    @torch.no_grad()
    def cut(x: Tensor) -> Tensor:
        corners = x.new_tensor(BOXES) * x.new_tensor(x.shape[2:]).flip(0).repeat(2)
        return cutter(model.extract_feat(x)[: cutter.num_inputs], F.pad(corners, (1, 0)))  # of the first image

    return Network(head, outputs, expected=head, cut=cut)


def _has_one(model: nn.Module, name: str) -> bool:
    head = getattr(getattr(model, 'roi_head', None), name, None)
    return head is not None and not isinstance(head, nn.ModuleList)  # as a cascade has them


# {--what: how it is made, which class or part a model must have}.
NETWORKS: dict[str, tuple[Callable[..., Network], Callable[[nn.Module], bool]]] = {
    'backbone': (_backbone, lambda model: isinstance(getattr(model, 'backbone', model), IFormer)),
    'classifier': (_classifier, lambda model: isinstance(model, IFormerClassifier)),
    'segmentor': (_segmentor, lambda model: hasattr(model, 'decode_head')),
    'detector': (_detector, lambda model: hasattr(model, 'rpn_head')),
    'box_head': (partial(_head, name='bbox', outputs=('scores', 'deltas')), lambda model: _has_one(model, 'bbox_head')),
    'mask_head': (partial(_head, name='mask', outputs=('masks',)), lambda model: _has_one(model, 'mask_head')),
}


@torch.no_grad()
def network_of(model: nn.Module, what: str, image: bool = False, about: dict | None = None, **form: object) -> Network:
    """The part of a trained model that is exported, in its export form; the model is left as it is.

    Args:
        model: An `IFormer`, an `IFormerClassifier`, or a segmentor or detector with an `IFormer`.
        what: One of `NETWORKS`.
        image: Whether it takes RGB images from 0 to 255. Otherwise it takes normalized ones.
        about: What the file is to say of itself.
        form: Options of :func:`~mmiformer.models.export_form`.

    Raises:
        UserError: The model is no such network, or takes no image.
    """
    make, fits = NETWORKS[what]
    if not fits(model):
        raise UserError(f'--what {what}: {type(model).__name__} is or has none, or its backbone is no IFormer')
    network = make(model.eval(), **form)
    if network.cut:
        if image:
            raise UserError(f'--image: what --what {what} takes is cut out of maps, and no image')
        return replace(network, module=network.module.eval(), about=dict(about or {}))
    expected = Normalized(network.expected) if image else network.expected
    known = _meta(model) | (dict(mean=(0.0,) * 3, std=(1.0,) * 3, channels=(0, 1, 2)) if image else {})
    return replace(
        network, module=network.module.eval(), about=dict(about or {}), image=image, expected=expected, **known
    )


def _meta(model: nn.Module) -> dict[str, tuple]:
    """Classes and colors, and how images are normalized, as far as a toolbox's model has them."""
    meta, found = getattr(model, 'dataset_meta', None) or {}, {}
    if meta.get('classes') and meta.get('palette'):
        found.update(classes=tuple(meta['classes']), palette=tuple(map(tuple, meta['palette'])))
    preprocessor = getattr(model, 'data_preprocessor', None)
    if hasattr(preprocessor, 'mean'):
        turned = getattr(preprocessor, 'channel_conversion', getattr(preprocessor, '_channel_conversion', False))
        found['channels'] = (0, 1, 2) if turned else (2, 1, 0)  # OpenCV reads B, G, R
        found.update({name: tuple(getattr(preprocessor, name).flatten().tolist()) for name in ('mean', 'std')})
    return found
