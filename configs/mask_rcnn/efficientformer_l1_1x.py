# EfficientFormer-L1, Table 5, published: 37.9 box AP, 35.4 mask AP.
# tools/dist_train.sh configs/mask_rcnn/efficientformer_l1_1x.py 8
# Recipe: snap-research/EfficientFormer, detection/configs/mask_rcnn_efficientformer_l1_fpn_1x_coco.py.
# The authors start from 300 epochs on ImageNet; timm's file, the only one that has a URL, has 1000.
_base_ = '../_base_/mask_rcnn_1x.py'

model = dict(
    backbone=dict(
        type='mmiformer.EfficientFormer',  # its batch norms train, on each GPU alone
        arch='l1',
        bias_grid=25,  # of 800 x 800; the biases start from 0, as with the authors
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/timm/efficientformer_l1.snap_dist_in1k/resolve/main/model.safetensors',
        ),
    ),
    neck=dict(in_channels=[48, 96, 224, 448]),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
