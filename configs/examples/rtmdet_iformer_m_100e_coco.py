# RTMDet-tiny on three stages of iFormer-M (no published score). Works from any folder: copy it and change it.
# tools/dist_train.sh configs/examples/rtmdet_iformer_m_100e_coco.py 8
_base_ = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
checkpoint = 'iFormer_m_distill.pth'  # in place of the base's

model = dict(
    # RTMDet feeds its own backbone BGR; the weights of iFormer know RGB.
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,  # of mmdet's CSPNeXt
        type='mmiformer.IFormer',
        arch='m',
        out_indices=(1, 2, 3),  # strides 8, 16, 32
        norm_eval=True,  # as in the released dense recipes
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[96, 192, 384]),  # Table 15
)

# From here on: mmdet's configs/rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py, RTMDet on a pretrained transformer.
max_epochs = 100
stage2_num_epochs = 10  # the last ones, without mosaic and mix-up
base_lr = 1e-3
train_cfg = dict(max_epochs=max_epochs, dynamic_intervals=[(max_epochs - stage2_num_epochs, 1)])
train_dataloader = dict(batch_size=16)  # on each of 8 GPUs
auto_scale_lr = dict(base_batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=base_lr))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.05 * base_lr,
        begin=max_epochs // 2,
        end=max_epochs,
        T_max=max_epochs // 2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
_base_.custom_hooks[1].switch_epoch = max_epochs - stage2_num_epochs
