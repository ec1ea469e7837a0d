# iFormer-L2, Table 13, published: 44.6 box AP, 41.1 mask AP. tools/dist_train.sh configs/mask_rcnn/iformer_l2_1x.py 8
_base_ = 'iformer_m_1x.py'

model = dict(
    backbone=dict(arch='l2', init_cfg=dict(checkpoint='iFormer_l2_distill.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]),  # Table 15
)
