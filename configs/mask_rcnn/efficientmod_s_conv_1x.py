# EfficientMod-s-Conv, Table 5, published: 42.1 box AP, 38.5 mask AP.
# tools/dist_train.sh configs/mask_rcnn/efficientmod_s_conv_1x.py 8
# The table calls it EfficientMod-S (docs/tables.md).
# Recipe: ma-xu/EfficientMod, detection/configs/efficientMod_s_Conv.py.
# Its ImageNet weights are on Google Drive alone (see the authors' README): put the file where `checkpoint` says.
_base_ = '../_base_/mask_rcnn_1x.py'

model = dict(
    backbone=dict(
        type='mmiformer.EfficientMod',
        arch='s_conv',
        drop_path_rate=0.02,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/efficientmod_s_conv.pth'),
    ),
    neck=dict(in_channels=[40, 80, 160, 344]),
)
train_dataloader = dict(batch_size=4)  # on each GPU, with the learning rate that others have for 2
auto_scale_lr = dict(base_batch_size=32)
_base_.param_scheduler[0].start_factor = 1e-3
