# ResNet-50, Table 5, published: 38.0 box AP, 34.4 mask AP.
# tools/dist_train.sh configs/mask_rcnn/resnet50_1x.py 8
# Recipe: mask-rcnn_r50_fpn_1x_coco.py of MMDetection, whose checkpoint has 38.2 box AP and 34.7 mask AP.
_base_ = 'resnet18_1x.py'

model = dict(
    backbone=dict(depth=50, init_cfg=dict(checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth')),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
