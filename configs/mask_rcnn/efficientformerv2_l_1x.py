# EfficientFormerV2-L, Table 13, published: 44.7 box AP, 40.4 mask AP.
# tools/dist_train.sh configs/mask_rcnn/efficientformerv2_l_1x.py 8
# Recipe: snap-research/EfficientFormer, detection/configs/mask_rcnn_efficientformerv2_l_fpn_1x_coco.py.
_base_ = '../_base_/mask_rcnn_1x.py'

model = dict(
    backbone=dict(
        type='mmiformer.EfficientFormerV2',
        arch='l',
        bias_grid=25,  # of 800 x 800; the biases start from 0, as with the authors
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/timm/efficientformerv2_l.snap_dist_in1k/resolve/main/model.safetensors',
        ),
    ),
    neck=dict(in_channels=[40, 80, 192, 384]),
)
sync_bn = 'torch'  # the authors' code freezes batch norms, but only after it has made them SyncBN: they train
