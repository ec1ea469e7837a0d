# iFormer-L, Table 5, published: 44.5 mIoU. tools/dist_train.sh configs/sem_fpn/iformer_l_40k.py 8
_base_ = 'iformer_m_40k.py'

model = dict(
    backbone=dict(arch='l', init_cfg=dict(checkpoint='iFormer_l_distill.pth')),
    neck=dict(in_channels=[48, 96, 256, 384]),  # Table 15
)
