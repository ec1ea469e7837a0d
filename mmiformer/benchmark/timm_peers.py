"""Backbones that iFormer is compared with, as timm has them."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

# `make setup` installs timm here, where no other program sees it (requirements/witness.txt says why).
FOLDER = Path(sys.prefix) / 'witness'


class Peer(NamedTuple):
    """A backbone of timm, with the results that the paper prints for it (Table 5, Table 13 for EfficientFormerV2-L).

    Attributes:
        label: Its name in print.
        timm_name: timm's name.
        fixed_size: Whether it is built for one size of image.
        result: {'box_AP', 'mask_AP', 'mIoU'} of Mask R-CNN 1x on COCO and Semantic FPN on ADE20K, as far as printed.
    """

    label: str
    timm_name: str
    fixed_size: bool
    result: dict[str, float]


def _peer(label: str, timm_name: str, *figures: float, fixed_size: bool = False) -> Peer:
    return Peer(label, timm_name, fixed_size, dict(zip(('box_AP', 'mask_AP', 'mIoU'), figures, strict=False)))


PEERS = {
    'efficientnet_b0': _peer('EfficientNet-B0', 'efficientnet_b0', 31.9, 29.4),
    'resnet18': _peer('ResNet-18', 'resnet18', 34.0, 31.2, 32.9),
    'poolformer_s12': _peer('PoolFormer-S12', 'poolformer_s12', 37.3, 34.6, 37.2),
    'fastvit_sa12': _peer('FastViT-SA12', 'fastvit_sa12', 38.9, 35.9, 38.0),
    'repvit_m1_1': _peer('RepViT-M1.1', 'repvit_m1_1', 39.8, 37.2, 40.6),
    'resnet50': _peer('ResNet-50', 'resnet50', 38.0, 34.4, 36.7),
    'poolformer_s24': _peer('PoolFormer-S24', 'poolformer_s24', 40.1, 37.0, 40.3),
    'convnext_tiny': _peer('ConvNeXt-T', 'convnext_tiny', 41.0, 37.7, 41.4),
    'repvit_m1_5': _peer('RepViT-M1.5', 'repvit_m1_5', 41.6, 38.6, 43.6),
    'pvt_v2_b1': _peer('PVTv2-B1', 'pvt_v2_b1', 41.8, 38.8, 42.5),
    'fastvit_sa24': _peer('FastViT-SA24', 'fastvit_sa24', 42.0, 38.0, 41.0),
    'swin_tiny': _peer('Swin-T', 'swin_tiny_patch4_window7_224', 42.2, 39.1, 41.5, fixed_size=True),
    'efficientformerv2_l': _peer('EfficientFormerV2-L', 'efficientformerv2_l', 44.7, 40.4, 45.2, fixed_size=True),
    'mobilenetv4_conv_medium': _peer('MobileNetV4-Conv-M', 'mobilenetv4_conv_medium'),
}


@functools.cache  # once: the operators live as long as what declared them
def import_timm() -> ModuleType:
    """timm, of this environment or of the folder that `make setup` installs it in.

    timm needs torchvision, and on CPU-only torch that is imported only once the operators that it looks for have been
    declared. Afterwards torchvision is half there, which MMEngine's Runner does not bear: use this only in a process
    that trains nothing with it.

    Raises:
        ImportError: timm or torchvision is not installed.
    """
    if FOLDER.is_dir() and str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    operators = torch.library.Library('torchvision', 'FRAGMENT')
    try:
        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
                del sys.modules[name]
            operators.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
            operators.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        import timm
    except ImportError as error:
        raise ImportError(
            f'the backbones of other papers come from timm, which cannot be imported ({error}). '
            f'`make setup` installs it in {FOLDER}; elsewhere: pip install timm'
        ) from error
    timm.operators = operators
    return timm


def build_peer(peer: Peer, height: int, width: int) -> nn.Module:
    """A backbone that returns the maps of strides 4, 8, 16 and 32, without stochastic depth, with random weights.

    Args:
        peer: Which one.
        height: Height of the images, for networks that are built for one size.
        width: Their width.

    Raises:
        ImportError: timm is not installed.
    """
    size = dict(img_size=(height, width)) if peer.fixed_size else {}
    network = import_timm().create_model(
        peer.timm_name, pretrained=False, features_only=True, out_indices=(-4, -3, -2, -1), **size
    )
    for module in network.modules():
        if hasattr(module, 'drop_prob'):
            module.drop_prob = 0.0
    return network


def reparameterise(network: nn.Module) -> nn.Module:
    """A peer's form for inference, as timm makes it; where timm has none, the network itself."""
    from timm.utils import reparameterize_model

    return reparameterize_model(network).eval()  # the layers that it makes are not


@torch.no_grad()
def fold_batch_norms(network: nn.Module, image: Tensor) -> nn.Module:
    """Fold, in place, every batch norm that reads the output of a convolution beside it into that convolution.

    timm leaves most networks' batch norms as they are, also those that cost nothing once they are folded. Beside it
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
