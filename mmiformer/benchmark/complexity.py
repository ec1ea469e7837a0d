"""Parameters and multiply-accumulates (MACs) of networks.

Counted are the convolutions, the linear layers and the two products of attention that are run, whichever modules run
them; a multiplication and its addition are one MAC. Not counted are batch norms (which fold into the convolutions
before them), activations, softmax, element-wise sums and products, pooling, interpolation, RoIAlign and non-maximum
suppression.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..errors import UserError
from ..stack import unfused_attention

PROPOSALS, DETECTIONS = 1000, 100  # what mmdet's two-stage detectors classify and draw masks for, at most, in an image


class Count(NamedTuple):
    """What a part of a network has and does.

    Attributes:
        name: The part.
        parameters: Number of trainable numbers, frozen ones included.
        macs: Multiply-accumulates for the images that it was run on.
    """

    name: str
    parameters: int
    macs: int


@torch.no_grad()
def count(name: str, module: nn.Module, run: Callable[..., Any], *inputs: Any) -> tuple[Count, Any]:
    """Count what `run(*inputs)` does, in plain operations: compiled and fused ones are not seen.

    Args:
        name: What to call it.
        module: Whose parameters are counted.
        run: The module itself, or a method of it.
        inputs: Its inputs.

    Returns:
        The count and what `run` returned.
    """
    counter = FlopCounterMode(display=False)
    with unfused_attention(), counter:
        outputs = run(*inputs)
    # torch counts a multiplication and an addition as two operations
    return Count(name, sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2), outputs


def count_parts(model: nn.Module, height: int, width: int) -> list[Count]:
    """Count a detector or segmentor part by part, for one image.

    A second stage's box head is counted for 1000 proposals and its mask head for 100 detections, the most that mmdet's
    settings let through; how many there really are depends on the image.

    Args:
        model: Of mmdet or mmseg, with a `backbone` and maybe a `neck`.
        height: Height of the image in pixels.
        width: Its width.

    Returns:
        A count for each part, in the order of the data, and the sum, called 'whole'.

    Raises:
        UserError: A part of the model is of a kind that this function cannot run on its own.
    """
    model.eval()
    backbone, features = count('backbone', model.backbone, model.backbone, torch.zeros(1, 3, height, width))
    counts = [backbone]
    if getattr(model, 'neck', None) is not None:
        neck, features = count('neck', model.neck, model.neck, features)
        counts.append(neck)
    counted = {'backbone', 'neck', 'data_preprocessor'}
    for name in ('rpn_head', 'bbox_head', 'mask_head', 'decode_head'):
        if (head := getattr(model, name, None)) is not None:
            counts.append(count(name, head, head, features)[0])
            counted.add(name)
    if (roi_head := getattr(model, 'roi_head', None)) is not None:
        counts += _count_roi_head(roi_head, features, height, width)
        counted.add('roi_head')
    # A segmentor's auxiliary heads are for training alone.
    others = {name for name, _ in model.named_children()} - counted - {'auxiliary_head'}
    if others:
        raise UserError(
            f'{type(model).__name__} has parts that cannot be run on their own: {", ".join(sorted(others))}'
        )
    parameters = sum(p.numel() for p in model.parameters())
    return [*counts, Count('whole', parameters, sum(part.macs for part in counts))]


def _count_roi_head(roi_head: nn.Module, features: tuple[Tensor, ...], height: int, width: int) -> list[Count]:
    if not hasattr(roi_head, '_bbox_forward') or isinstance(roi_head.bbox_head, nn.ModuleList):
        raise UserError(f'{type(roi_head).__name__} cannot be run on its own: only heads with one stage can')
    roi = torch.tensor([[0.0, 0.0, 0.0, width, height]])  # index of the image, box

    def times(number: int, one: tuple[Count, Any]) -> Count:
        return one[0]._replace(macs=number * one[0].macs)

    counts = [times(PROPOSALS, count('box head', roi_head.bbox_head, roi_head._bbox_forward, features, roi))]
    if roi_head.with_mask:
        counts.append(times(DETECTIONS, count('mask head', roi_head.mask_head, roi_head._mask_forward, features, roi)))
    return counts
