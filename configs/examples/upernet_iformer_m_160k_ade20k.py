# UPerNet on iFormer-M (no published score).
# tools/dist_train.sh configs/examples/upernet_iformer_m_160k_ade20k.py 8
_base_ = [
    '../_base_/models/upernet_iformer.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/160k.py',
    '../_base_/mmseg_runtime.py',
]

model = dict(
    backbone=dict(arch='m', init_cfg=dict(checkpoint='iFormer_m_distill.pth')),
    decode_head=dict(in_channels=[48, 96, 192, 384]),  # Table 15
    auxiliary_head=dict(in_channels=192),  # stage 3
)
train_dataloader = dict(batch_size=2)  # on each of 8 GPUs, as in mmseg's configs/swin
