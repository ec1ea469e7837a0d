_base_ = [
    '../_base_/models/mask_rcnn_iformer.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/1x.py',
    '../_base_/mmdet_runtime.py',
]
# The released recipe starts from the distilled weights.
checkpoint = 'https://github.com/ChuanyangZheng/iFormer/releases/download/v0.9/iFormer_m_distill.pth'

model = dict(
    backbone=dict(arch='m', init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(in_channels=[48, 96, 192, 384]),  # Table 15
)
