# The drawn scenes' objects, from random weights, sized for two CPU cores. docs/imagenet.md has its score.
# python tools/make_shapes.py data/shapes --images 1200 && python tools/train.py configs/imagenet/iformer_t_shapes.py
_base_ = 'iformer_t_300e.py'

work_dir = 'work_dirs/imagenet_iformer_t_shapes'  # other tasks' configs have the same name
data_root = '{{$SHAPES_ROOT:data/shapes}}'.rstrip('/') + '/imagenet/'
metainfo = dict(
    classes=('cross', 'disc', 'ring', 'square', 'star', 'triangle')
)  # as labels count, by the folders' names
size = 64
batch_size = 64
max_epochs = 6
lr = 1e-3

model = dict(num_classes=6)
data_preprocessor = dict(batch_augments=None)

# ---- data, in gray: each class has a hue, which would make shapes superfluous
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomGrayscale', prob=1.0, keep_channels=True),
    dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomGrayscale', prob=1.0, keep_channels=True),
    dict(type='Resize', scale=(size, size)),
    dict(type='PackInputs'),
]
dataset = dict(type='CustomDataset', data_root=data_root, metainfo=metainfo)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    dataset=dict(_delete_=True, data_prefix='train', pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=2,
    dataset=dict(_delete_=True, data_prefix='val', pipeline=test_pipeline, **dataset),
)
test_dataloader = val_dataloader

# ---- schedule
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=lr, foreach=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=1, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1))
log_processor = dict(window_size=10)
