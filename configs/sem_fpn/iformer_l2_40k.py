# iFormer-L2, Table 13, published: 46.2 mIoU. tools/dist_train.sh configs/sem_fpn/iformer_l2_40k.py 8
_base_ = 'iformer_m_40k.py'

model = dict(
    backbone=dict(arch='l2', init_cfg=dict(checkpoint='iFormer_l2_distill.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]),  # Table 15
)
