# ResNet-18, Table 5, published: 34.0 box AP, 31.2 mask AP.
# tools/dist_train.sh configs/mask_rcnn/resnet18_1x.py 8
# Recipe: mask-rcnn_r50_fpn_1x_coco.py of MMDetection, with depth=18.
_base_ = '../_base_/mask_rcnn_1x.py'

model = dict(
    backbone=dict(
        type='ResNet',
        depth=18,
        frozen_stages=1,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet18-f37072fd.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4))
_base_.param_scheduler[0].start_factor = 1e-3
