# Semantic FPN as mmseg defines it, on an iFormer. A child sets the variant, its weights and the neck's in_channels.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],  # ImageNet's, in RGB
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(512, 512),  # of the training crops, which are padded to it
        pad_val=0,
        seg_pad_val=255,  # the label that losses and evaluation ignore
    ),
    backbone=dict(
        type='mmiformer.IFormer',
        norm_eval=True,  # released recipe: frozen batch norm statistics, trained affine
        drop_path_rate=0.0,  # released recipe
        init_cfg=dict(type='Pretrained'),
    ),
    neck=dict(type='FPN', out_channels=256, num_outs=4),
    decode_head=dict(
        type='FPNHead',
        in_channels=[256, 256, 256, 256],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),  # MMEngine's Runner makes it BN where there is one process
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
