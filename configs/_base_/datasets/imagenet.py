# ImageNet-1K, where IMAGENET_ROOT (or --data-root of the tools) says, in the released recipe: timm's transforms, by
# mmpretrain's of the same names. docs/imagenet.md tells how much they differ.
data_root = '{{$IMAGENET_ROOT:data/imagenet}}'.rstrip('/') + '/'

# OpenCV reads BGR; the preprocessor's figures are of RGB.
data_preprocessor = dict(
    type='ClsDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
    batch_augments=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    ),  # Table 9; one of both
)
# Released recipe: PIL, which turns no image as its EXIF orientation says.
load = dict(type='LoadImageFromFile', color_type='color_ignore_orientation')
train_pipeline = [
    load,
    # Released recipe: 8 to 100 % of the image, at most 4:3.
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    # Table 9: (9, 0.5); released recipe: rand-m9-mstd0.5-inc1, where the image ends its mean color begins.
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    # Table 9: 0.25; released recipe: noise on 2 to 33 % of the image.
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[103.53, 116.28, 123.675],
        fill_std=[57.375, 57.12, 58.395],
    ),
    dict(type='PackInputs'),
]
# Released recipe: the shorter side to 256, then the center.
test_pipeline = [
    load,
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=512,  # on each of 8 GPUs
    num_workers=10,
    persistent_workers=True,
    drop_last=True,  # released recipe
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),  # no repeated augmentation
    dataset=dict(type='ImageNet', data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ImageNet', data_root=data_root, split='val', pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
