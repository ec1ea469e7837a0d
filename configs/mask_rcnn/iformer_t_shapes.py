# Mask R-CNN on the drawn scenes, from random weights, sized for two CPU cores. docs/demo.md has its scores.
# python tools/make_shapes.py data/shapes && python tools/train.py configs/mask_rcnn/iformer_t_shapes.py
_base_ = 'iformer_t_1x.py'

work_dir = 'work_dirs/mask_rcnn_iformer_t_shapes'  # the other task's config has the same name
data_root = '{{$SHAPES_ROOT:data/shapes}}'.rstrip('/') + '/coco/'
metainfo = dict(
    classes=('disc', 'square', 'triangle', 'star', 'ring', 'cross'),
    palette=[(228, 87, 86), (76, 120, 168), (245, 177, 52), (84, 162, 75), (178, 121, 162), (70, 190, 190)],
)
size = (128, 128)
batch_size = 4
max_epochs = 13
lr = 1e-3

# ---- model: neck and heads are what costs, so they are a quarter as wide as Mask R-CNN's own and see fewer proposals;
# they have batch norms, without which they learn slowly from random weights, like the backbone, whose norms train.
channels = 64
norm = dict(type='BN')
strides = [4, 8, 16, 32]  # and no level of stride 64 in pictures of 128 pixels
# Objects are about 20 to 80 pixels wide: anchors and the level that an object is pooled from are for sizes a half and a
# third of COCO's.
roi_extractor = dict(out_channels=channels, finest_scale=16, roi_layer=dict(sampling_ratio=1))
model = dict(
    backbone=dict(window_size=8, norm_eval=False, init_cfg=None),  # 8: stage 3 is 8 x 8 here
    neck=dict(out_channels=channels, num_outs=4, norm_cfg=norm),
    rpn_head=dict(in_channels=channels, feat_channels=channels, anchor_generator=dict(scales=[4], strides=strides)),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=2,
            num_shared_fcs=1,
            in_channels=channels,
            conv_out_channels=channels,
            fc_out_channels=256,
            norm_cfg=norm,
            num_classes=6,
        ),
        mask_roi_extractor=roi_extractor,
        mask_head=dict(num_convs=2, in_channels=channels, conv_out_channels=channels, num_classes=6, norm_cfg=norm),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=300, max_per_img=100),
        rcnn=dict(sampler=dict(num=32)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100)),
)

# ---- data
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        data_root=data_root, metainfo=metainfo, filter_cfg=dict(filter_empty_gt=False), pipeline=train_pipeline
    ),
)
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

# ---- schedule
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=lr, foreach=True), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=2, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=2))
log_processor = dict(window_size=10)
