"""The networks. Importing this package registers them."""

from .arch import ARCHS, Arch
from .classifier import IFormerClassifier
from .export_form import export_form
from .iformer import IFormer

__all__ = ['ARCHS', 'Arch', 'IFormer', 'IFormerClassifier', 'export_form']
