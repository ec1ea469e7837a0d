# iFormer-S with the recipe of Table 5, no published score. tools/dist_train.sh configs/sem_fpn/iformer_s_40k.py 8
_base_ = 'iformer_m_40k.py'

model = dict(
    backbone=dict(arch='s', init_cfg=dict(checkpoint='iFormer_s.pth')),  # no distilled weights were released
    neck=dict(in_channels=[32, 64, 176, 320]),  # Table 15
)
