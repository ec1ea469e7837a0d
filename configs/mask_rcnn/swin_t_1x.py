# Swin-T, Table 5, published: 42.2 box AP, 39.1 mask AP.
# tools/dist_train.sh configs/mask_rcnn/swin_t_1x.py 8
# Recipe: mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py of MMDetection, whose checkpoint has 42.7 box AP and 39.3 mask AP.
_base_ = '../_base_/mask_rcnn_1x.py'

model = dict(
    backbone=dict(
        type='SwinTransformer',  # -T by default
        drop_path_rate=0.2,
        convert_weights=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth',
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0), norm=dict(decay_mult=0.0))),
)
_base_.param_scheduler[0].update(start_factor=1e-3, end=1000)
