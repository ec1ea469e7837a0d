"""Checks and downloads of COCO and ADE20K, and the embedded mini data set."""

from .layout import check_dataset
from .place import DatasetError

__all__ = ['DatasetError', 'check_dataset']
