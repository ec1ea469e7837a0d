# UPerNet as MMSegmentation defines it, on an iFormer. A child sets arch, checkpoint and both heads' in_channels.
_base_ = 'segmentor.py'

model = dict(
    backbone=dict(
        type='mmiformer.IFormer',
        norm_eval=True,  # as in the released dense recipes: frozen batch norm statistics, trained affine
        init_cfg=dict(type='Pretrained'),
    ),
    decode_head=dict(
        type='UPerHead',
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),  # MMEngine's Runner makes it BN where there is one process
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
    ),
)
