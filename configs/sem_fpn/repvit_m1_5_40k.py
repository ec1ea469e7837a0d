# RepViT-M1.5, Table 5, published: 43.6 mIoU.
# tools/dist_train.sh configs/sem_fpn/repvit_m1_5_40k.py 8
# Recipe: THU-MIG/RepViT, segmentation/configs/sem_fpn/fpn_repvit_m1_5_ade20k_40k.py.
_base_ = 'repvit_m1_1_40k.py'

model = dict(
    backbone=dict(
        model_name='repvit_m1_5',
        init_cfg=dict(
            checkpoint='https://github.com/THU-MIG/RepViT/releases/download/v1.0/repvit_m1_5_distill_300e.pth'
        ),
    ),
)
