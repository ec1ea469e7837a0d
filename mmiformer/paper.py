"""The tables of the paper (arXiv:2501.15369) that can be reproduced, as printed: {row: figures}.

Rows keep the paper's names and order, without the year and the reference behind a name. None stands where a table has
no such column or no figure. The tables contradict each other in places (`tests/test_paper.py` has the list); nothing is
corrected here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

FAILED = math.inf  # "the model runs too long to report latency"


class Classifier(NamedTuple):
    """A row of a table on ImageNet-1K.

    Attributes:
        params: Parameters, in millions.
        gmacs: Multiply-accumulates of one image, in 10^9.
        latency: Milliseconds on an iPhone 13.
        resolution: Height and width of the image.
        epochs: Epochs of training.
        top1: Top-1 accuracy, in percent.
    """

    params: float | None
    gmacs: float | None
    latency: float | None
    resolution: int | None
    epochs: int | None
    top1: float


class Dense(NamedTuple):
    """A row of a table on detection, instance segmentation and semantic segmentation, with the backbone's cost.

    Attributes:
        params: Parameters, in millions.
        latency: Milliseconds on an iPhone 13, for an image of 512 x 512.
        box_AP, box_AP50, box_AP75, mask_AP, mask_AP50, mask_AP75: Of Mask R-CNN on COCO, in percent.
        mIoU: Of Semantic FPN on ADE20K, in percent.
        pretrain_epochs: Epochs on ImageNet-1K; the third column of Table 13.
    """

    params: float
    latency: float
    box_AP: float
    box_AP50: float
    box_AP75: float
    mask_AP: float
    mask_AP50: float
    mask_AP75: float
    mIoU: float | None
    pretrain_epochs: int | None = None


class Ablation(NamedTuple):
    """A row of a table of ablations: a network on ImageNet-1K, 224 x 224, 300 epochs.

    Attributes:
        latency: Milliseconds on an iPhone 13.
        top1: Top-1 accuracy, in percent; None where there is none.
        params: Parameters, in millions.
        gmacs: Multiply-accumulates of one image, in 10^9; Tables 7 and 14 print them in 10^6.
    """

    latency: float
    top1: float | None = None
    params: float | None = None
    gmacs: float | None = None


# Table 1: multi-head against single-head attention.
TABLE_1 = {
    'MHA Baseline': Ablation(1.40, 79.9),
    'SHA Baseline': Ablation(1.12, 79.8),
}

# Table 2: the side of the depthwise convolutions' kernels.
TABLE_2 = {
    '3 x 3': Ablation(1.00),
    '7 x 7': Ablation(1.01),
}

# Figure 2: from ConvNeXt to iFormer-M, each step on the one before; the figures are those that section 3 names.
FIGURE_2 = {
    'ConvNeXt': Ablation(1.07, 74.9),
    'Early Convolutions': Ablation(1.17, 76.7),  # "a neglectable increase in latency of 0.1 ms"
    'Normalization': Ablation(0.77, 77.1),
    'Going Deeper': Ablation(1.05, 78.8),
    'Stage Ratio': Ablation(1.01, 79.1),
    'Kernel Size': Ablation(1.01, 79.4),  # "no impact on inference latency", "by 0.3%"
    'MHA': Ablation(1.40, 79.9),
    'SHA': Ablation(1.12, 79.8),
    'SHMA': Ablation(1.15, 80.4),
    'Reducing Width': Ablation(1.10, 80.2),
    'Positional Embedding': Ablation(1.10, 80.4),
}

# Table 3: classification on ImageNet-1K. †: trained with strategies such as reparameterization and distillation.
TABLE_3 = {
    'MobileNetV2 1.0x': Classifier(3.4, 0.30, 0.73, 224, 500, 72.0),
    'MobileNetV3-Large 0.75x': Classifier(4.0, 0.16, 0.67, 224, 600, 73.3),
    'MNV4-Conv-S': Classifier(3.8, 0.20, 0.60, 224, 500, 73.8),
    'iFormer-T': Classifier(2.9, 0.53, 0.60, 224, 300, 74.1),
    'MobileNetV2 1.4x': Classifier(6.9, 0.59, 1.02, 224, 500, 74.7),
    'MobileNetV3-Large 1.0x': Classifier(5.4, 0.22, 0.76, 224, 600, 75.2),
    'SwiftFormer-XS': Classifier(3.5, 0.60, 0.95, 224, 300, 75.7),
    'SBCFormer-XS': Classifier(5.6, 0.70, 0.79, 224, 300, 75.8),
    'GhostNetV3 1.0x†': Classifier(6.1, 0.17, 0.99, 224, 600, 77.1),
    'MobileOne-S2': Classifier(7.8, 1.30, 0.92, 224, 300, 77.4),
    'RepViT-M1.0': Classifier(6.8, 1.10, 0.85, 224, 300, 78.6),
    'iFormer-S': Classifier(6.5, 1.09, 0.85, 224, 300, 78.8),
    'EfficientMod-xxs': Classifier(4.7, 0.60, 1.29, 224, 300, 76.0),
    'SBCFormer-S': Classifier(8.5, 0.90, 1.02, 224, 300, 77.7),
    'MobileOne-S3': Classifier(10.1, 1.90, 1.16, 224, 300, 78.1),
    'SwiftFormer-S': Classifier(6.1, 1.00, 1.12, 224, 300, 78.5),
    'GhostNetV3 1.3x†': Classifier(8.9, 0.27, 1.24, 224, 600, 79.1),
    'FastViT-T12': Classifier(6.8, 1.40, 1.12, 256, 300, 79.1),
    'RepViT-M1.1': Classifier(8.2, 1.30, 1.04, 224, 300, 79.4),
    'MNV4-Conv-M': Classifier(9.2, 1.00, 1.08, 256, 500, 79.9),
    'iFormer-M': Classifier(8.9, 1.64, 1.10, 224, 300, 80.4),
    'MobileFormer-294M': Classifier(11.4, 0.29, 2.66, 224, 450, 77.9),
    'MobileViT-S': Classifier(5.6, 2.00, 3.55, 256, 300, 78.4),
    'MobileOne-S4': Classifier(14.8, 2.98, 1.74, 224, 300, 79.4),
    'SBCFormer-B': Classifier(13.8, 1.60, 1.44, 224, 300, 80.0),
    'GhostNetV3 1.6x†': Classifier(12.3, 0.40, 1.49, 224, 600, 80.4),
    'EfficientViT-B1-r288': Classifier(9.1, 0.86, 3.87, 288, 450, 80.4),
    'FastViT-SA12': Classifier(10.9, 1.90, 1.50, 256, 300, 80.6),
    'MNV4-Hybrid-M': Classifier(10.5, 1.20, 1.75, 256, 500, 80.7),
    'SwiftFormer-L1': Classifier(12.1, 1.60, 1.60, 224, 300, 80.9),
    'EfficientMod-s': Classifier(12.9, 1.40, 2.57, 224, 300, 81.0),
    'RepViT-M1.5': Classifier(14.0, 2.30, 1.54, 224, 300, 81.2),
    'iFormer-L': Classifier(14.7, 2.63, 1.60, 224, 300, 81.9),
}

# Table 4: ImageNet-1K with distillation. *: trained with reparameterization as well.
TABLE_4 = {
    'EfficientFormerV2-S1': Classifier(None, None, 1.02, 224, 300, 79.0),
    'EfficientFormerV2-S1, 450 epochs': Classifier(None, None, 1.02, 224, 450, 79.7),
    'MobileViGv2-S*': Classifier(None, None, 1.24, 224, 300, 79.8),
    'FastViT-T12*': Classifier(None, None, 1.12, 256, 300, 80.3),
    'RepViT-M1.1*': Classifier(None, None, 1.04, 224, 300, 80.7),
    'iFormer-M': Classifier(None, None, 1.10, 224, 300, 81.1),
    'SHViT-S4': Classifier(None, None, 1.48, 224, 300, 80.2),
    'EfficientFormerV2-S2': Classifier(None, None, 1.60, 224, 300, 81.6),
    'MobileViGv2-M': Classifier(None, None, 1.70, 224, 300, 81.7),
    'FastViT-SA12*': Classifier(None, None, 1.50, 256, 300, 81.9),
    'EfficientFormerV2-S2, 450 epochs': Classifier(None, None, 1.60, 224, 450, 82.0),
    'RepViT-M1.5*': Classifier(None, None, 1.54, 224, 300, 82.3),
    'iFormer-L': Classifier(None, None, 1.60, 224, 300, 82.7),
}

# Table 5: Mask R-CNN 1x on COCO 2017, Semantic FPN 40k on ADE20K. Latency of the backbone at 512 x 512.
TABLE_5 = {
    'EfficientNet-B0': Dense(5.3, 4.55, 31.9, 51.0, 34.5, 29.4, 47.9, 31.2, None),
    'ResNet18': Dense(11.7, 2.85, 34.0, 54.0, 36.7, 31.2, 51.0, 32.7, 32.9),
    'PoolFormer-S12': Dense(11.9, 5.70, 37.3, 59.0, 40.1, 34.6, 55.8, 36.9, 37.2),
    'EfficientFormer-L1': Dense(12.3, 3.50, 37.9, 60.3, 41.0, 35.4, 57.3, 37.3, 38.9),
    'FastViT-SA12': Dense(10.9, 5.27, 38.9, 60.5, 42.2, 35.9, 57.6, 38.1, 38.0),
    'RepViT-M1.1': Dense(8.2, 3.18, 39.8, 61.9, 43.5, 37.2, 58.8, 40.1, 40.6),
    'iFormer-M': Dense(8.9, 4.00, 40.8, 62.5, 44.8, 37.9, 59.7, 40.7, 42.4),
    'ResNet50': Dense(25.5, 7.20, 38.0, 58.6, 41.4, 34.4, 55.1, 36.7, 36.7),
    'PoolFormer-S24': Dense(21.4, 10.0, 40.1, 62.2, 43.4, 37.0, 59.1, 39.6, 40.3),
    'ConvNeXt-T': Dense(29.0, 13.6, 41.0, 62.1, 45.3, 37.7, 59.3, 40.4, 41.4),
    'EfficientFormer-L3': Dense(31.3, 8.40, 41.4, 63.9, 44.7, 38.1, 61.0, 40.4, 43.5),
    'RepViT-M1.5': Dense(14.0, 5.00, 41.6, 63.2, 45.3, 38.6, 60.5, 41.5, 43.6),
    'PVTv2-B1': Dense(14.0, 27.00, 41.8, 64.3, 45.9, 38.8, 61.2, 41.6, 42.5),
    'FastViT-SA24': Dense(20.6, 8.97, 42.0, 63.5, 45.8, 38.0, 60.5, 40.5, 41.0),
    'EfficientMod-S': Dense(32.6, 24.30, 42.1, 63.6, 45.9, 38.5, 60.8, 41.2, 43.5),
    'Swin-T': Dense(28.3, FAILED, 42.2, 64.4, 46.2, 39.1, 61.6, 42.0, 41.5),
    'iFormer-L': Dense(14.7, 6.60, 42.2, 64.2, 46.0, 39.1, 61.4, 41.9, 44.5),
}

# Table 6: activation and norm in SHMA.
TABLE_6 = {
    'SiLU + Post-BN': Ablation(1.10, None, 8.9, 1.60),  # "Diverged"
    'SiLU + Pre-LN': Ablation(1.17, 80.3, 8.9, 1.64),
    'Sigmoid + Post-BN': Ablation(1.10, 80.4, 8.9, 1.60),
}

# Table 7: how many conv blocks of stage 3 are replaced by attention, and how.
TABLE_7 = {
    'Baseline': Ablation(1.0, 79.4, 9.4, 1.760),
    '22% as SHA': Ablation(1.02, 79.5, 9.1, 1.724),
    '22% as SHMA': Ablation(1.04, 79.6, 9.2, 1.739),
    '50% as SHA': Ablation(1.04, 79.5, 8.8, 1.689),
    '50% as SHMA': Ablation(1.07, 79.8, 8.9, 1.712),
    '78% as SHA': Ablation(1.12, 79.3, 8.3, 1.635),
    '78% as SHMA': Ablation(1.17, 79.6, 8.5, 1.685),
    '100% as SHA': Ablation(1.17, 78.1, 7.9, 1.599),
    '100% as SHMA': Ablation(1.25, 79.0, 8.3, 1.665),
    '100% as SHMA and 100% in Stage 4': Ablation(1.15, 80.4, 10.0, 1.792),
}

# Table 8: the larger variant on ImageNet-1K.
TABLE_8 = {
    'ConvNeXt-Base': Classifier(89, 15.4, None, None, None, 83.8),
    'TransNeXt-Base': Classifier(90, 18.4, None, None, None, 84.8),
    'iFormer-H': Classifier(99, 15.5, None, None, None, 84.8),
    'MaxViT-Base': Classifier(120, 24.0, None, None, None, 84.9),
}

# Table 10: ways to reduce the latency.
TABLE_10 = {
    'Baseline': Ablation(1.15, 80.4, 10.0, 1.79),
    'Number of Blocks': Ablation(1.07, 79.7, 8.4, 1.70),
    'FFN Width': Ablation(1.07, 79.8, 8.6, 1.62),
    'Attn. Head and FFN Width': Ablation(1.10, 80.2, 8.9, 1.64),
}

# Table 11: depthwise convolutions in all FFNs.
TABLE_11 = {
    'with': Ablation(1.43, 80.5, 9.6, 1.83),
    'w/o.': Ablation(1.10, 80.4, 8.9, 1.60),
}

# Table 12: ImageNet-1K with distillation, 450 epochs.
TABLE_12 = {
    'ConvNeXt-B': Classifier(89.0, None, 7.54, 224, 300, 83.8),
    'EfficientFormerV2-L': Classifier(26.1, None, 2.40, 224, 450, 83.5),
    'iFormer-L2': Classifier(24.5, None, 2.30, 224, 450, 83.9),
}

# Table 13: as Table 5, with backbones pretrained for longer.
TABLE_13 = {
    'ResNet50': Dense(25.5, 7.20, 38.0, 58.6, 41.4, 34.4, 55.1, 36.7, 36.7, 300),
    'PoolFormer-S24': Dense(21.4, 12.30, 40.1, 62.2, 43.4, 37.0, 59.1, 39.6, 40.3, 300),
    'ConvNeXt-T': Dense(29.0, 12.6, 41.0, 62.1, 45.3, 37.7, 59.3, 40.4, 41.4, 300),
    'EfficientFormer-L3': Dense(31.3, 8.40, 41.4, 63.9, 44.7, 38.1, 61.0, 40.4, 43.5, 300),
    'RepViT-M1.5': Dense(14.0, 5.00, 41.6, 63.2, 45.3, 38.6, 60.5, 41.5, 43.6, 300),
    'PVTv2-B1': Dense(14.0, 27.00, 41.8, 64.3, 45.9, 38.8, 61.2, 41.6, 42.5, 300),
    'FastViT-SA24': Dense(20.6, 8.97, 42.0, 63.5, 45.8, 38.0, 60.5, 40.5, 41.0, 300),
    'EfficientMod-S': Dense(32.6, 24.30, 42.1, 63.6, 45.9, 38.5, 60.8, 41.2, 43.5, 300),
    'Swin-T': Dense(28.3, FAILED, 42.2, 64.4, 46.2, 39.1, 61.6, 42.0, 41.5, 300),
    'iFormer-L': Dense(14.7, 6.60, 42.2, 64.2, 46.0, 39.1, 61.4, 41.9, 44.5, 300),
    'EfficientFormerV2-L': Dense(26.1, 12.5, 44.7, 66.3, 48.8, 40.4, 63.5, 43.2, 45.2, 450),
    'iFormer-L2': Dense(24.5, 9.06, 44.6, 66.7, 49.1, 41.1, 64.0, 44.1, 46.2, 450),
}

# Table 14: from the single-head baseline to SHViT.
TABLE_14 = {
    'SHA Baseline without Modulation': Ablation(1.12, 79.4, 9.9, 1.758),
    '+ split': Ablation(1.18, None, 9.9, 1.758),
    '+ attention on 1/4 channels': Ablation(1.02, None, 8.3, 1.547),
    '+ concat': Ablation(1.11, 79.5, 8.7, 1.579),
}

# Table 17: latency of iFormer-M in ms, {(attention, resolution): latency}.
TABLE_17 = {
    ('SHMA', 224): 1.10,
    ('SHMA', 512): FAILED,
    ('Hybrid SHMA', 512): 11.46,
    ('CC Hybrid SHMA', 512): 4.0,
}

# Table 18: ImageNet-1K in full. †: as in Table 3.
TABLE_18 = {
    'MobileNetV2 1.0x': Classifier(3.4, 0.30, 0.73, 224, 500, 72.0),
    'SHViT-S1': Classifier(6.3, 0.24, 0.74, 224, 300, 72.8),
    'MobileNetV3-Large 0.75x': Classifier(4.0, 0.16, 0.67, 224, 600, 73.3),
    'MNV4-Conv-S': Classifier(3.8, 0.20, 0.60, 224, 500, 73.8),
    'iFormer-T': Classifier(2.9, 0.53, 0.60, 224, 300, 74.1),
    'ShuffleNetV2 1.0x': Classifier(2.3, 0.15, 0.74, 224, 300, 69.4),
    'MobileNetV2 1.4x': Classifier(6.9, 0.59, 1.02, 224, 500, 74.7),
    'MobileNetV3-Large 1.0x': Classifier(5.4, 0.22, 0.76, 224, 600, 75.2),
    'SwiftFormer-XS': Classifier(3.5, 0.60, 0.95, 224, 300, 75.7),
    'SBCFormer-XS': Classifier(5.6, 0.70, 0.79, 224, 300, 75.8),
    'GhostNetV3 1.0x†': Classifier(6.1, 0.17, 0.99, 224, 600, 77.1),
    'EfficientNet-B0': Classifier(5.3, 0.39, 0.89, 224, 350, 77.1),
    'MobileOne-S2': Classifier(7.8, 1.30, 0.92, 224, 300, 77.4),
    'LowFormer-B0': Classifier(14.1, 0.94, 1.45, 224, 300, 78.4),
    'CAS-ViT-XS': Classifier(3.2, 0.56, 0.85, 224, 300, 77.5),
    'EMO-5M': Classifier(5.1, 0.90, FAILED, 224, 300, 78.4),
    'RepViT-M1.0': Classifier(6.8, 1.10, 0.85, 224, 300, 78.6),
    'iFormer-S': Classifier(6.5, 1.09, 0.85, 224, 300, 78.8),
    'ShuffleNetV2 1.5x': Classifier(3.5, 0.30, 1.16, 224, 300, 72.6),
    'EdgeViT-XXS': Classifier(4.1, 0.60, 1.41, 224, 300, 74.4),
    'SHViT-S2': Classifier(11.4, 0.37, 1.10, 224, 300, 75.2),
    'EfficientMod-xxs': Classifier(4.7, 0.60, 1.29, 224, 300, 76.0),
    'SBCFormer-S': Classifier(8.5, 0.90, 1.02, 224, 300, 77.7),
    'MobileOne-S3': Classifier(10.1, 1.90, 1.16, 224, 300, 78.1),
    'SwiftFormer-S': Classifier(6.1, 1.00, 1.12, 224, 300, 78.5),
    'GhostNetV3 1.3x†': Classifier(8.9, 0.27, 1.24, 224, 600, 79.1),
    'EfficientNet-B1': Classifier(7.8, 0.70, 1.29, 240, 350, 79.1),
    'FastViT-T12': Classifier(6.8, 1.40, 1.12, 256, 300, 79.1),
    'RepViT-M1.1': Classifier(8.2, 1.30, 1.04, 224, 300, 79.4),
    'RepNeXt-M3': Classifier(7.8, 1.30, 1.04, 224, 300, 79.4),
    'FastViT-S12': Classifier(8.8, 1.80, 1.26, 256, 300, 79.8),
    'MNV4-Conv-M': Classifier(9.2, 1.00, 1.08, 256, 500, 79.9),
    'iFormer-M': Classifier(8.9, 1.64, 1.10, 224, 300, 80.4),
    'MobileViT-XXS': Classifier(1.3, 0.40, 2.12, 256, 300, 69.0),
    'MobileViTV2-0.5': Classifier(1.4, 0.50, 9.47, 256, 300, 70.2),
    'ShuffleNet v2 2.0x': Classifier(7.4, 0.59, 1.94, 224, 300, 74.9),
    'EdgeViT-XS': Classifier(6.7, 1.10, 1.79, 224, 300, 77.5),
    'MobileFormer-294M': Classifier(11.4, 0.29, 2.66, 224, 450, 77.9),
    'MobileViTV2-1.0': Classifier(4.9, 1.80, FAILED, 256, 300, 78.1),
    'EfficientMod-xs': Classifier(6.6, 0.80, 2.13, 224, 300, 78.3),
    'MobileViT-S': Classifier(5.6, 2.00, 3.55, 256, 300, 78.4),
    'CMT-Ti': Classifier(11.3, 687, FAILED, 160, 300, 79.2),
    'MobileFormer-508M': Classifier(14, 0.51, 3.33, 224, 450, 79.3),
    'SHViT-S4': Classifier(16.5, 0.99, 1.48, 224, 300, 79.4),
    'EfficientViT-B1-r224': Classifier(9.1, 0.52, 2.38, 224, 350, 79.4),
    'MobileOne-S4': Classifier(14.8, 2.98, 1.74, 224, 300, 79.4),
    'LowFormer-B1': Classifier(17.9, 1.41, 1.90, 224, 300, 79.9),
    'SBCFormer-B': Classifier(13.8, 1.60, 1.44, 224, 300, 80.0),
    'EfficientNet-B2': Classifier(9.2, 1.00, 1.69, 260, 350, 80.1),
    'CAS-ViT-S': Classifier(5.8, 0.93, 1.82, 224, 300, 80.2),
    'GhostNetV3 1.6x†': Classifier(12.3, 0.40, 1.49, 224, 600, 80.4),
    'EfficientViT-B1-r288': Classifier(9.1, 0.86, 3.87, 288, 450, 80.4),
    'FastViT-SA12': Classifier(10.9, 1.90, 1.50, 256, 300, 80.6),
    'MNV4-Hybrid-M': Classifier(10.5, 1.20, 1.75, 256, 500, 80.7),
    'SwiftFormer-L1': Classifier(12.1, 1.60, 1.60, 224, 300, 80.9),
    'EfficientMod-s': Classifier(12.9, 1.40, 2.57, 224, 300, 81.0),
    'SBCFormer-L': Classifier(18.5, 2.70, 1.89, 224, 300, 81.1),
    'RepViT-M1.5': Classifier(14.0, 2.30, 1.64, 224, 300, 81.2),
    'LowFormer-B1.5': Classifier(33.9, 2.57, 3.02, 224, 300, 81.2),
    'RepNeXt-M4': Classifier(13.3, 2.30, 1.47, 224, 300, 81.2),
    'CAS-ViT-M': Classifier(12.4, 1.89, 2.46, 224, 300, 81.4),
    'iFormer-L': Classifier(14.7, 2.63, 1.60, 224, 300, 81.7),
}
