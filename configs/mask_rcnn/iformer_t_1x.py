# iFormer-T with the recipe of Table 5, no published score. tools/dist_train.sh configs/mask_rcnn/iformer_t_1x.py 8
_base_ = 'iformer_m_1x.py'

model = dict(
    backbone=dict(arch='t', init_cfg=dict(checkpoint='iFormer_t.pth')),  # no distilled weights were released
    neck=dict(in_channels=[32, 64, 128, 256]),  # Table 15
)
