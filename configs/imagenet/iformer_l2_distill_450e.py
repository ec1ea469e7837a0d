# iFormer-L2, Table 12, published: 83.9 % top-1. tools/dist_train.sh configs/imagenet/iformer_l2_distill_450e.py 8
_base_ = 'iformer_m_distill_300e.py'

model = dict(arch='l2')

# Section C: 450 epochs.
train_cfg = dict(max_epochs=450)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=20, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=20, end=450, by_epoch=True, convert_to_iter_based=True),
]
