# iFormer-M, Table 5, published: 42.4 mIoU. tools/dist_train.sh configs/sem_fpn/iformer_m_40k.py 8
_base_ = [
    '../_base_/models/sem_fpn_iformer.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/40k.py',
    '../_base_/mmseg_runtime.py',
]

model = dict(
    backbone=dict(arch='m', init_cfg=dict(checkpoint='iFormer_m_distill.pth')),  # distilled, as in the recipe
    neck=dict(in_channels=[48, 96, 192, 384]),  # Table 15
)
