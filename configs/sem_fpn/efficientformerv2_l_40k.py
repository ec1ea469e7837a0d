# EfficientFormerV2-L, Table 13, published: 45.2 mIoU.
# tools/dist_train.sh configs/sem_fpn/efficientformerv2_l_40k.py 8
# Recipe: snap-research/EfficientFormer, segmentation/configs/sem_fpn/fpn_efficientformerv2_l_ade20k_40k.py.
_base_ = '../_base_/sem_fpn_40k.py'

model = dict(
    backbone=dict(
        type='mmiformer.EfficientFormerV2',
        arch='l',
        bias_grid=16,  # of 512 x 512; the biases start from 0, as with the authors
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/timm/efficientformerv2_l.snap_dist_in1k/resolve/main/model.safetensors',
        ),
    ),
    neck=dict(in_channels=[40, 80, 192, 384]),
)
sync_bn = 'torch'  # the authors' code freezes batch norms, but only after it has made them SyncBN: they train
