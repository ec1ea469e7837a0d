# RepViT-M1.1, Table 5, published: 39.8 box AP, 37.2 mask AP.
# tools/dist_train.sh configs/mask_rcnn/repvit_m1_1_1x.py 8
# Recipe: THU-MIG/RepViT, detection/configs/mask_rcnn_repvit_m1_1_fpn_1x_coco.py.
_base_ = '../_base_/mask_rcnn_1x.py'

model = dict(
    backbone=dict(
        type='mmiformer.TimmBackbone',
        model_name='repvit_m1_1',
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/THU-MIG/RepViT/releases/download/v1.0/repvit_m1_1_distill_300e.pth',
        ),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
