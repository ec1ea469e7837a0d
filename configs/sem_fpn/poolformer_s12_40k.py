# PoolFormer-S12, Table 5, published: 37.2 mIoU.
# tools/dist_train.sh configs/sem_fpn/poolformer_s12_40k.py 8
# Recipe: sail-sg/poolformer, segmentation/configs/sem_fpn/PoolFormer/fpn_poolformer_s12_ade20k_40k.py.
# MMSegmentation's checkpoint, trained with automatic mixed precision, has 36.68 mIoU.
_base_ = '../_base_/sem_fpn_40k.py'

model = dict(
    backbone=dict(
        type='mmiformer.TimmBackbone',
        model_name='poolformer_s12',
        output_norm='GN1',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/sail-sg/poolformer/releases/download/v1.0/poolformer_s12.pth.tar',
        ),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
_base_.param_scheduler[0].eta_min = 0.0
