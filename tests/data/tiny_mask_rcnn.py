# A Mask R-CNN of a few thousand weights with everything in its training that draws random numbers, on drawn scenes.
_base_ = '../../configs/mask_rcnn/iformer_t_shapes.py'
size = (64, 64)
channels = [4, 8, 8, 8]
pooled = dict(out_channels=4)
model = dict(
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
        drop_path_rate=0.2,
    ),
    neck=dict(in_channels=channels, out_channels=4),
    rpn_head=dict(in_channels=4, feat_channels=4),
    roi_head=dict(
        bbox_roi_extractor=pooled,
        bbox_head=dict(in_channels=4, conv_out_channels=4, fc_out_channels=8),
        mask_roi_extractor=pooled,
        mask_head=dict(num_convs=1, in_channels=4, conv_out_channels=4),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=50, max_per_img=20), rcnn=dict(sampler=dict(num=8))),
    test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=20)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=size, ratio_range=(0.7, 1.4), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=3, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=3),
    dict(type='MultiStepLR', begin=0, end=3, by_epoch=True, milestones=[1, 2], gamma=0.5),
]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=-1))
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
