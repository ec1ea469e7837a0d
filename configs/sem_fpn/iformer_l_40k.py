_base_ = [
    '../_base_/models/sem_fpn_iformer.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/40k.py',
    '../_base_/mmseg_runtime.py',
]
# The released recipe starts from the distilled weights.
checkpoint = 'https://github.com/ChuanyangZheng/iFormer/releases/download/v0.9/iFormer_l_distill.pth'

model = dict(
    backbone=dict(arch='l', init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(in_channels=[48, 96, 256, 384]),  # Table 15
)
