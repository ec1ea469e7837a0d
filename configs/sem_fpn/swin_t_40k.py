# Swin-T, Table 5, published: 41.5 mIoU.
# tools/dist_train.sh configs/sem_fpn/swin_t_40k.py 8
# Recipe: ours, since none is published: RepViT's.
_base_ = '../_base_/sem_fpn_40k.py'

model = dict(
    backbone=dict(
        type='SwinTransformer',  # -T by default
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/swin_tiny_patch4_window7_224_20220317-1cdeb081.pth',
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
