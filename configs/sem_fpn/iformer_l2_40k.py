_base_ = [
    '../_base_/models/sem_fpn_iformer.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/40k.py',
    '../_base_/mmseg_runtime.py',
]
# The released recipe starts from the distilled weights.
checkpoint = 'https://github.com/ChuanyangZheng/iFormer/releases/download/v0.9/iFormer_l2_distill.pth'

model = dict(
    backbone=dict(arch='l2', init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(in_channels=[64, 128, 256, 512]),  # Table 15
)
