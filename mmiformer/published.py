"""The published weight files of iFormer: their names, where they are, and what the paper prints for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .paper import TABLE_3, TABLE_4, TABLE_5, TABLE_8, TABLE_12, TABLE_13

_RELEASE = 'https://github.com/ChuanyangZheng/iFormer/releases/download/v0.9'
_HUB = 'https://huggingface.co'


@dataclass(frozen=True)
class Published:
    """A published weight file.

    Attributes:
        name: What the file is called here; `checkpoint.load`, `init_cfg` and the tools take it for the file.
        task: 'imagenet', 'coco' (Mask R-CNN 1x) or 'ade20k' (Semantic FPN 40k).
        arch: The variant, as in `IFormer(arch=...)`.
        urls: Where it can be fetched, tried in this order.
        distilled: Whether the ImageNet training it comes from was distilled.
        result: What the paper prints for it, in percent, under the names of `paper.Classifier` and `paper.Dense`.
    """

    name: str
    task: str
    arch: str
    urls: tuple[str, ...]
    distilled: bool
    result: dict[str, float] = field(hash=False)


def _released(name: str, task: str, arch: str, distilled: bool, **result: float) -> Published:
    urls = (f'{_HUB}/BillionZheng/iFormer/resolve/main/{name}', f'{_RELEASE}/{name}')
    return Published(name, task, arch, urls, distilled, result)


def _timm(model: str, arch: str, distilled: bool, **result: float) -> Published:
    url = f'{_HUB}/timm/{model}.in1k/resolve/main/model.safetensors'  # every file there has this name
    return Published(f'{model}.in1k.safetensors', 'imagenet', arch, (url,), distilled, result)


_PLAIN = {arch: TABLE_3[f'iFormer-{arch.upper()}'] for arch in ('t', 's', 'm', 'l')} | {'h': TABLE_8['iFormer-H']}
_DISTILLED = dict(m=TABLE_4['iFormer-M'], l=TABLE_4['iFormer-L'], l2=TABLE_12['iFormer-L2'])
_DENSE = dict(m=TABLE_5['iFormer-M'], l=TABLE_5['iFormer-L'], l2=TABLE_13['iFormer-L2'])

_FILES = (
    *(_released(f'iFormer_{arch}.pth', 'imagenet', arch, False, top1=row.top1) for arch, row in _PLAIN.items()),
    *(
        _released(f'iFormer_{arch}_distill.pth', 'imagenet', arch, True, top1=row.top1)
        for arch, row in _DISTILLED.items()
    ),
    *(
        _released(f'iFormer_{arch}_epoch_12.pth', 'coco', arch, True, box_AP=row.box_AP, mask_AP=row.mask_AP)
        for arch, row in _DENSE.items()
    ),
    *(_released(f'iFormer_{arch}_iter_40000.pth', 'ade20k', arch, True, mIoU=row.mIoU) for arch, row in _DENSE.items()),
    *(_timm(f'iformer_{arch}', arch, False, top1=row.top1) for arch, row in _PLAIN.items()),
    *(_timm(f'iformer_{arch}_distilled', arch, True, top1=row.top1) for arch, row in _DISTILLED.items()),
)
PUBLISHED: Mapping[str, Published] = {file.name: file for file in _FILES}
