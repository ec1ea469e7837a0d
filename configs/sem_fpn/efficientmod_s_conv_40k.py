# EfficientMod-s-Conv, Table 5, published: 43.5 mIoU.
# tools/dist_train.sh configs/sem_fpn/efficientmod_s_conv_40k.py 8
# The table calls it EfficientMod-S (docs/tables.md).
# Recipe: ma-xu/EfficientMod, segmentation/configs/sem_fpn/efficientMod_s_Conv.py, whose neck has the channels of s.
# Its ImageNet weights are on Google Drive alone (see the authors' README): put the file where `checkpoint` says.
_base_ = '../_base_/sem_fpn_40k.py'

model = dict(
    backbone=dict(
        type='mmiformer.EfficientMod',
        arch='s_conv',
        drop_path_rate=0.02,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/efficientmod_s_conv.pth'),
    ),
    neck=dict(in_channels=[40, 80, 160, 344]),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=0, end=40000),
]
