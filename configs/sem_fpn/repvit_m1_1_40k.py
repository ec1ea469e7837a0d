# RepViT-M1.1, Table 5, published: 40.6 mIoU.
# tools/dist_train.sh configs/sem_fpn/repvit_m1_1_40k.py 8
# Recipe: THU-MIG/RepViT, segmentation/configs/sem_fpn/fpn_repvit_m1_1_ade20k_40k.py.
_base_ = '../_base_/sem_fpn_40k.py'

model = dict(
    backbone=dict(
        type='mmiformer.TimmBackbone',
        model_name='repvit_m1_1',
        taps=[  # the last block of each stage; in detection the last but one
            'stages.1.downsample.pre_block',
            'stages.2.downsample.pre_block',
            'stages.3.downsample.pre_block',
            'stages.3',
        ],
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/THU-MIG/RepViT/releases/download/v1.0/repvit_m1_1_distill_300e.pth',
        ),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
