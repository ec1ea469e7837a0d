# iFormer-L, Table 5, published: 42.2 box AP, 39.1 mask AP. tools/dist_train.sh configs/mask_rcnn/iformer_l_1x.py 8
_base_ = 'iformer_m_1x.py'

model = dict(
    backbone=dict(arch='l', init_cfg=dict(checkpoint='iFormer_l_distill.pth')),
    neck=dict(in_channels=[48, 96, 256, 384]),  # Table 15
)
