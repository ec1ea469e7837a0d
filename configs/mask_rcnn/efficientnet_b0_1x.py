# EfficientNet-B0, Table 5, published: 31.9 box AP, 29.4 mask AP.
# tools/dist_train.sh configs/mask_rcnn/efficientnet_b0_1x.py 8
# Recipe: ours, since none is published: RepViT's.
_base_ = '../_base_/mask_rcnn_1x.py'

model = dict(
    backbone=dict(
        type='mmiformer.TimmBackbone',
        model_name='efficientnet_b0',
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/timm/efficientnet_b0.ra_in1k/resolve/main/model.safetensors',
        ),
    ),
    neck=dict(in_channels=[24, 40, 112, 320]),
)
