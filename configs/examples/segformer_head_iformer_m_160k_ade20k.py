# SegFormer's head on iFormer-M (no published score).
# tools/dist_train.sh configs/examples/segformer_head_iformer_m_160k_ade20k.py 8
_base_ = [
    '../_base_/models/segformer_head_iformer.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/160k.py',
    '../_base_/mmseg_runtime.py',
]

model = dict(
    backbone=dict(arch='m', init_cfg=dict(checkpoint='iFormer_m_distill.pth')),
    decode_head=dict(in_channels=[48, 96, 192, 384]),  # Table 15
)
# mmseg's configs/segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))))
train_dataloader = dict(batch_size=2)  # on each of 8 GPUs
