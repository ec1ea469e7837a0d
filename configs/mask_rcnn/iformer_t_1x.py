_base_ = [
    '../_base_/models/mask_rcnn_iformer.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/1x.py',
    '../_base_/mmdet_runtime.py',
]
# No distilled weights and no dense result were released for T.
checkpoint = 'https://github.com/ChuanyangZheng/iFormer/releases/download/v0.9/iFormer_t.pth'

model = dict(
    backbone=dict(arch='t', init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(in_channels=[32, 64, 128, 256]),  # Table 15
)
