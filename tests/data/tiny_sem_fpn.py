# A Semantic FPN of a few thousand weights with everything in its training that draws random numbers, on drawn scenes.
_base_ = 'before_redesign.py'
size = (64, 64)
model = dict(backbone=dict(drop_path_rate=0.2), decode_head=dict(dropout_ratio=0.1))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomResize', scale=size, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_iters=12, val_interval=6)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=3),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=3, end=12, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=4, max_keep_ckpts=-1))
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
