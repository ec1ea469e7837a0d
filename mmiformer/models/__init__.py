"""The networks. Importing this package registers them."""

from .classifier import IFormerClassifier
from .iformer import IFormer

__all__ = ['IFormer', 'IFormerClassifier']
