"""COCO, ADE20K and ImageNet: finding, fetching and checking them; and the drawn scenes."""

from .check import check_dataset

__all__ = ['check_dataset']
