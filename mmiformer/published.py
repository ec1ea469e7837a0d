"""The published weight files of iFormer, and trained detectors and segmentors of those it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .paper import TABLE_3, TABLE_4, TABLE_5, TABLE_8, TABLE_12, TABLE_13

_RELEASE = 'https://github.com/ChuanyangZheng/iFormer/releases/download/v0.9'
_HUB = 'https://huggingface.co'
_REPVIT = 'https://github.com/THU-MIG/RepViT/releases/download/v1.0'
_OPENMMLAB = ('https://download.openmmlab.com', 'https://mmassets.onedl.ai')  # the toolboxes' own, and their fork's


@dataclass(frozen=True)
class Published:
    """A published weight file of iFormer.

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


@dataclass(frozen=True)
class Baseline:
    """A published detector or segmentor on a backbone of another paper, which needs no training to be evaluated.

    Attributes:
        name: What the file is called here; `checkpoint.load` and the tools take it for the file.
        row: The row of Table 5.
        config: The config that it fits, as `get_config` takes it.
        urls: Where it can be fetched, tried in this order.
        result: What those who trained it publish for it, in percent, under the names of `paper.Dense`. The paper's
            cells can differ.
    """

    name: str
    row: str
    config: str
    urls: tuple[str, ...]
    result: dict[str, float] = field(hash=False)


def _baseline(row: str, config: str, urls: tuple[str, ...], **result: float) -> Baseline:
    return Baseline(urls[0].rpartition('/')[2], row, config, urls, result)


def _openmmlab(path: str) -> tuple[str, ...]:
    return tuple(f'{host}/{path}' for host in _OPENMMLAB)


_BASELINES = (
    _baseline(
        'ResNet50',
        'mask_rcnn/resnet50_1x',
        _openmmlab(
            'mmdetection/v2.0/mask_rcnn/mask_rcnn_r50_fpn_1x_coco/mask_rcnn_r50_fpn_1x_coco_20200205-d4b0c5d6.pth'
        ),
        box_AP=38.2,
        mask_AP=34.7,
    ),
    _baseline(
        'Swin-T',
        'mask_rcnn/swin_t_1x',
        _openmmlab(
            'mmdetection/v2.0/swin/mask_rcnn_swin-t-p4-w7_fpn_1x_coco/'
            'mask_rcnn_swin-t-p4-w7_fpn_1x_coco_20210902_120937-9d6b7cfa.pth'
        ),
        box_AP=42.7,
        mask_AP=39.3,
    ),
    _baseline(
        'RepViT-M1.1', 'mask_rcnn/repvit_m1_1_1x', (f'{_REPVIT}/repvit_m1_1_coco.pth',), box_AP=39.8, mask_AP=37.2
    ),
    _baseline(
        'RepViT-M1.5', 'mask_rcnn/repvit_m1_5_1x', (f'{_REPVIT}/repvit_m1_5_coco.pth',), box_AP=41.6, mask_AP=38.6
    ),
    _baseline('RepViT-M1.1', 'sem_fpn/repvit_m1_1_40k', (f'{_REPVIT}/repvit_m1_1_ade20k.pth',), mIoU=40.6),
    _baseline('RepViT-M1.5', 'sem_fpn/repvit_m1_5_40k', (f'{_REPVIT}/repvit_m1_5_ade20k.pth',), mIoU=43.6),
    _baseline(
        'PoolFormer-S12',
        'sem_fpn/poolformer_s12_40k',
        _openmmlab(
            'mmsegmentation/v0.5/poolformer/fpn_poolformer_s12_8x4_512x512_40k_ade20k/'
            'fpn_poolformer_s12_8x4_512x512_40k_ade20k_20220501_115154-b5aa2f49.pth'
        ),
        mIoU=36.68,
    ),
    _baseline(
        'PoolFormer-S24',
        'sem_fpn/poolformer_s24_40k',
        _openmmlab(
            'mmsegmentation/v0.5/poolformer/fpn_poolformer_s24_8x4_512x512_40k_ade20k/'
            'fpn_poolformer_s24_8x4_512x512_40k_ade20k_20220503_222049-394a7cf7.pth'
        ),
        mIoU=40.12,
    ),
)
BASELINES: Mapping[str, Baseline] = {file.name: file for file in _BASELINES}
