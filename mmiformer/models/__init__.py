"""The networks. Importing this package registers them."""

from . import ablation
from .arch import ARCHS, Arch
from .classifier import IFormerClassifier
from .efficientformer import EfficientFormer, EfficientFormerV2
from .efficientmod import EfficientMod
from .export_form import export_form
from .iformer import IFormer
from .timm_backbone import TimmBackbone

__all__ = [
    'ARCHS',
    'Arch',
    'EfficientFormer',
    'EfficientFormerV2',
    'EfficientMod',
    'IFormer',
    'IFormerClassifier',
    'TimmBackbone',
    'ablation',
    'export_form',
]
