# EfficientFormer-L3, Table 5, published: 43.5 mIoU.
# tools/dist_train.sh configs/sem_fpn/efficientformer_l3_40k.py 8
# Recipe: snap-research/EfficientFormer, segmentation/configs/sem_fpn/fpn_efficientformer_l3_ade20k_40k.py.
_base_ = 'efficientformer_l1_40k.py'

model = dict(
    backbone=dict(
        arch='l3',
        init_cfg=dict(
            checkpoint='https://huggingface.co/timm/efficientformer_l3.snap_dist_in1k/resolve/main/model.safetensors'
        ),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
