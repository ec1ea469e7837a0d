# ResNet-50, Table 5, published: 36.7 mIoU.
# tools/dist_train.sh configs/sem_fpn/resnet50_40k.py 8
# Recipe: whai362/PVT, segmentation/configs/sem_fpn/fpn_r50_512x512_40k_ade20k.py.
_base_ = 'resnet18_40k.py'

model = dict(
    backbone=dict(depth=50, init_cfg=dict(checkpoint='open-mmlab://resnet50_v1c')),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
