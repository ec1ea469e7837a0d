# EfficientFormer-L3, Table 5, published: 41.4 box AP, 38.1 mask AP.
# tools/dist_train.sh configs/mask_rcnn/efficientformer_l3_1x.py 8
# Recipe: snap-research/EfficientFormer, detection/configs/mask_rcnn_efficientformer_l3_fpn_1x_coco.py.
_base_ = 'efficientformer_l1_1x.py'

model = dict(
    backbone=dict(
        arch='l3',
        init_cfg=dict(
            checkpoint='https://huggingface.co/timm/efficientformer_l3.snap_dist_in1k/resolve/main/model.safetensors'
        ),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
