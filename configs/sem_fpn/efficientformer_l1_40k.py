# EfficientFormer-L1, Table 5, published: 38.9 mIoU.
# tools/dist_train.sh configs/sem_fpn/efficientformer_l1_40k.py 8
# Recipe: snap-research/EfficientFormer, segmentation/configs/sem_fpn/fpn_efficientformer_l1_ade20k_40k.py.
# The authors start from 300 epochs on ImageNet; timm's file, the only one that has a URL, has 1000.
_base_ = '../_base_/sem_fpn_40k.py'

model = dict(
    backbone=dict(
        type='mmiformer.EfficientFormer',  # its batch norms train, on each GPU alone
        arch='l1',
        bias_grid=16,  # of 512 x 512; the biases start from 0, as with the authors
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/timm/efficientformer_l1.snap_dist_in1k/resolve/main/model.safetensors',
        ),
    ),
    neck=dict(in_channels=[48, 96, 224, 448]),
)
_base_.param_scheduler[0].eta_min = 0.0
