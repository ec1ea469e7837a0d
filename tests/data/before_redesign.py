# A Semantic FPN of a few thousand weights, whose checkpoint fits into the repository.
_base_ = '../../configs/sem_fpn/iformer_t_shapes.py'
size = (64, 64)
channels = [4, 8, 8, 8]
model = dict(
    data_preprocessor=dict(size=size),
    backbone=dict(
        arch=dict(
            _delete_=True,  # the base has a name here
            stem_channels=2,
            channels=channels,
            conv_blocks=(1, 0, 0, 0),
            triples=(0, 0, 2, 1),
            last_conv_blocks=(0, 0, 0, 0),
            head_dims=(0, 0, 4, 4),
            conv_ratio=2,
            ffn_ratio=2,
        ),
        window_size=4,
    ),
    neck=dict(in_channels=channels, out_channels=4),
    decode_head=dict(in_channels=[4] * 4, channels=4),
)
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=100, val_interval=100)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
default_hooks = dict(checkpoint=dict(interval=100))
