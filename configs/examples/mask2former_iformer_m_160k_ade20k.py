# Mask2Former for semantic segmentation on iFormer-M; needs MMDetection too (no published score).
# tools/dist_train.sh configs/examples/mask2former_iformer_m_160k_ade20k.py 8
_base_ = [
    '../_base_/models/mask2former_semantic_iformer.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/160k.py',
    '../_base_/mmseg_runtime.py',
]

model = dict(
    backbone=dict(arch='m', init_cfg=dict(checkpoint='iFormer_m_distill.pth')),
    decode_head=dict(in_channels=[48, 96, 192, 384]),  # Table 15
)

# From here on: mmseg's configs/mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py.
_base_.train_pipeline[2] = dict(
    type='RandomChoiceResize',
    scales=[int(512 * x * 0.1) for x in range(5, 21)],
    resize_type='ResizeShortestEdge',
    max_size=2048,
)
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=_base_.train_pipeline))  # on each of 8 GPUs
no_decay = dict(decay_mult=0.0)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys=dict(backbone=dict(lr_mult=0.1), query_embed=no_decay, query_feat=no_decay, level_embed=no_decay),
        norm_decay_mult=0.0,
    ),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=160000)]
