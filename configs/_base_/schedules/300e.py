# Table 9 and the released recipe: 300 epochs, 8 GPUs x 512 images, fp32.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05),  # Table 9
    # Released recipe: biases and what has one dimension, the norms' scales too, do not decay. No gradient clipping.
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    # Table 9: 20 epochs of warm-up; released recipe: from 0, which MMEngine's formula would divide by.
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=20, by_epoch=True, convert_to_iter_based=True),
    # Table 9: cosine; released recipe: to 1e-6.
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=20, end=300, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=4096)

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3, save_best='accuracy/top1'),
)
log_processor = dict(type='LogProcessor', window_size=100, by_epoch=True)
