# EfficientMod-s, not in the paper, published: 46.0 mIoU.
# tools/dist_train.sh configs/sem_fpn/efficientmod_s_40k.py 8
# What Table 5 calls EfficientMod-S is s-Conv (docs/tables.md).
# Recipe: ma-xu/EfficientMod, segmentation/configs/sem_fpn/efficientMod_s.py, whose neck has the channels of s-Conv.
_base_ = 'efficientmod_s_conv_40k.py'

model = dict(
    backbone=dict(arch='s', init_cfg=dict(checkpoint='checkpoints/efficientmod_s.pth')),
    neck=dict(in_channels=[32, 64, 144, 312]),
)
_base_.param_scheduler[1].eta_min = 2e-10  # 1e-6 of the learning rate
