# What all segmentors on ADE20K share. A child sets the backbone and the heads.
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
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
