# iFormer-S with the recipe of Table 5, no published score. tools/dist_train.sh configs/mask_rcnn/iformer_s_1x.py 8
_base_ = 'iformer_m_1x.py'

model = dict(
    backbone=dict(arch='s', init_cfg=dict(checkpoint='iFormer_s.pth')),  # no distilled weights were released
    neck=dict(in_channels=[32, 64, 176, 320]),  # Table 15
)
