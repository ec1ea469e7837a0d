# Semantic FPN on the drawn scenes, from random weights, sized for two CPU cores. docs/demo.md has its scores.
# python tools/make_shapes.py data/shapes && python tools/train.py configs/sem_fpn/iformer_t_shapes.py
_base_ = 'iformer_t_40k.py'

work_dir = 'work_dirs/sem_fpn_iformer_t_shapes'  # the other task's config has the same name
data_root = '{{$SHAPES_ROOT:data/shapes}}'.rstrip('/') + '/ade/'
metainfo = dict(
    classes=('background', 'disc', 'square', 'triangle', 'star', 'ring', 'cross'),
    palette=[
        (60, 60, 60),
        (228, 87, 86),
        (76, 120, 168),
        (245, 177, 52),
        (84, 162, 75),
        (178, 121, 162),
        (70, 190, 190),
    ],
)
size = (128, 128)
batch_size = 8
max_iters = 800
lr = 1e-3

# ---- model: a neck and a head a quarter and half as wide as Semantic FPN's own. All have batch norms that train.
channels = 64
model = dict(
    data_preprocessor=dict(size=size),
    backbone=dict(window_size=8, norm_eval=False, init_cfg=None),  # 8: stage 3 is 8 x 8 here
    neck=dict(out_channels=channels, norm_cfg=dict(type='BN')),
    decode_head=dict(in_channels=[channels] * 4, channels=64, num_classes=7),
)

# ---- data
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackSegInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size
shapes = dict(
    type='BaseSegDataset',  # ADE20KDataset, its child, takes no classes but ADE20K's
    data_root=data_root,
    metainfo=metainfo,
    img_suffix='.png',
    reduce_zero_label=True,  # as in ADE20K, 0 is unlabeled, and 1, the background, becomes class 0
)
train_dataloader = dict(batch_size=batch_size, dataset=dict(pipeline=train_pipeline, **shapes))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **shapes))
test_dataloader = val_dataloader

# ---- schedule
train_cfg = dict(max_iters=max_iters, val_interval=200)
optim_wrapper = dict(optimizer=dict(lr=lr, foreach=True), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=50, end=max_iters, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=200, max_keep_ckpts=2))
log_processor = dict(window_size=10)
