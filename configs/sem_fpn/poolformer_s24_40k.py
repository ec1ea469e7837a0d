# PoolFormer-S24, Table 5, published: 40.3 mIoU.
# tools/dist_train.sh configs/sem_fpn/poolformer_s24_40k.py 8
# Recipe: sail-sg/poolformer, segmentation/configs/sem_fpn/PoolFormer/fpn_poolformer_s24_ade20k_40k.py.
# MMSegmentation's checkpoint, trained with automatic mixed precision, has 40.12 mIoU.
_base_ = 'poolformer_s12_40k.py'

model = dict(
    backbone=dict(
        model_name='poolformer_s24',
        init_cfg=dict(checkpoint='https://github.com/sail-sg/poolformer/releases/download/v1.0/poolformer_s24.pth.tar'),
    ),
)
