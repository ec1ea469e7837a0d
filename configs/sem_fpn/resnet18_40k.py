# ResNet-18, Table 5, published: 32.9 mIoU.
# tools/dist_train.sh configs/sem_fpn/resnet18_40k.py 8
# Recipe: whai362/PVT, segmentation/configs/sem_fpn/fpn_r18_512x512_40k_ade20k.py.
_base_ = '../_base_/sem_fpn_40k.py'

model = dict(
    backbone=dict(
        type='ResNetV1c',
        depth=18,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet18_v1c'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4))
_base_.param_scheduler[0].eta_min = 0.0
