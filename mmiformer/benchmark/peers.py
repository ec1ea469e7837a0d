"""Backbones that iFormer is compared with, as timm has them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..models.timm_backbone import import_timm
from ..paper import TABLE_5, TABLE_13


class Peer(NamedTuple):
    """A backbone of timm.

    Attributes:
        row: Its name in Tables 5 and 13.
        timm_name: timm's name.
        fixed_size: Whether it is built for one size of image.
    """

    row: str
    timm_name: str
    fixed_size: bool = False

    @property
    def published(self) -> dict[str, float]:
        """{'box_AP', 'mask_AP', 'mIoU'} of Mask R-CNN 1x on COCO and Semantic FPN on ADE20K, as far as printed."""
        printed = {**TABLE_13, **TABLE_5}.get(self.row)
        figures = {metric: getattr(printed, metric, None) for metric in ('box_AP', 'mask_AP', 'mIoU')}
        return {metric: value for metric, value in figures.items() if value is not None}


PEERS = {
    'efficientnet_b0': Peer('EfficientNet-B0', 'efficientnet_b0'),
    'resnet18': Peer('ResNet18', 'resnet18'),
    'poolformer_s12': Peer('PoolFormer-S12', 'poolformer_s12'),
    'fastvit_sa12': Peer('FastViT-SA12', 'fastvit_sa12'),
    'repvit_m1_1': Peer('RepViT-M1.1', 'repvit_m1_1'),
    'resnet50': Peer('ResNet50', 'resnet50'),
    'poolformer_s24': Peer('PoolFormer-S24', 'poolformer_s24'),
    'convnext_tiny': Peer('ConvNeXt-T', 'convnext_tiny'),
    'repvit_m1_5': Peer('RepViT-M1.5', 'repvit_m1_5'),
    'pvt_v2_b1': Peer('PVTv2-B1', 'pvt_v2_b1'),
    'fastvit_sa24': Peer('FastViT-SA24', 'fastvit_sa24'),
    'swin_tiny': Peer('Swin-T', 'swin_tiny_patch4_window7_224', fixed_size=True),
    'efficientformerv2_l': Peer('EfficientFormerV2-L', 'efficientformerv2_l', fixed_size=True),
    'mobilenetv4_conv_medium': Peer('MobileNetV4-Conv-M', 'mobilenetv4_conv_medium'),  # no dense result is printed
}


def build_peer(peer: Peer, height: int, width: int) -> nn.Module:
    """A backbone that returns the maps of strides 4, 8, 16 and 32, without stochastic depth, with random weights.

    Args:
        peer: Which one.
        height: Height of the images, for networks that are built for one size.
        width: Their width.

    Raises:
        ImportError: timm cannot be imported.
    """
    size = dict(img_size=(height, width)) if peer.fixed_size else {}
    network = import_timm().create_model(
        peer.timm_name, pretrained=False, features_only=True, out_indices=(-4, -3, -2, -1), **size
    )
    for module in network.modules():
        if hasattr(module, 'drop_prob'):
            module.drop_prob = 0.0
    return network


def reparameterize(network: nn.Module) -> nn.Module:
    """A copy of a peer in its form for inference, as timm makes it; where timm has none, a plain copy."""
    from timm.utils import reparameterize_model

    return reparameterize_model(network).eval()  # the layers that it makes are not


@torch.no_grad()
def fold_batch_norms(network: nn.Module, image: Tensor) -> nn.Module:
    """Fold, in place, every batch norm that reads the output of a convolution beside it into that convolution.

    timm leaves most networks' batch norms as they are, although they cost nothing once they are folded. Beside it
    means in the same module: a convolution elsewhere may have other readers.

    Args:
        network: The network, in evaluation mode.
        image: A batch that it can be run on, to see what is connected with what.

    Returns:
        The network.
    """
    places = {child: (parent, name) for parent in network.modules() for name, child in parent.named_children()}
    written: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by the id of the output, held so that no other gets it
    read_by: dict[_BatchNorm, nn.Conv2d] = {}

    def after_conv(conv, inputs, output):
        written[id(output)] = (conv, output)

    def before_norm(norm, inputs):
        conv = written.get(id(inputs[0]), (None,))[0]
        if conv is not None and places[conv][0] is places[norm][0]:
            read_by[norm] = conv

    hooks = [m.register_forward_hook(after_conv) for m in network.modules() if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_pre_hook(before_norm) for m in network.modules() if isinstance(m, _BatchNorm)]
    network(image)
    for hook in hooks:
        hook.remove()
    for norm, conv in read_by.items():
        setattr(*places[conv], fuse_conv_bn_eval(conv, norm))
        setattr(*places[norm], getattr(norm, 'act', nn.Identity()))  # timm's batch norms have their activation in them
    return network
