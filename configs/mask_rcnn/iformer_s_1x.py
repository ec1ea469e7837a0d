_base_ = [
    '../_base_/models/mask_rcnn_iformer.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/1x.py',
    '../_base_/mmdet_runtime.py',
]
# No distilled weights and no dense result were released for S.
checkpoint = 'https://github.com/ChuanyangZheng/iFormer/releases/download/v0.9/iFormer_s.pth'

model = dict(
    backbone=dict(arch='s', init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(in_channels=[32, 64, 176, 320]),  # Table 15
)
