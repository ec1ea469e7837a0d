# Semantic FPN 40k on ADE20K for any backbone, in RepViT's recipe. A child sets the backbone, the neck's in_channels,
# and what its own recipe has otherwise.
_base_ = ['models/sem_fpn.py', 'datasets/ade20k.py', 'schedules/40k.py', 'mmseg_runtime.py']

# RepViT, and all others whose recipes are here, resize test images to multiples of 32; iFormer does not.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='ResizeToMultiple', size_divisor=32),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
