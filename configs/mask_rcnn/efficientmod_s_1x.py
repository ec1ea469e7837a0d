# EfficientMod-s, not in the paper, published: 43.6 box AP, 40.3 mask AP.
# tools/dist_train.sh configs/mask_rcnn/efficientmod_s_1x.py 8
# What Table 5 calls EfficientMod-S is s-Conv (docs/tables.md).
# Recipe: ma-xu/EfficientMod, detection/configs/efficientMod_s.py.
_base_ = 'efficientmod_s_conv_1x.py'

model = dict(
    backbone=dict(arch='s', init_cfg=dict(checkpoint='checkpoints/efficientmod_s.pth')),
    neck=dict(in_channels=[32, 64, 144, 312]),
)
