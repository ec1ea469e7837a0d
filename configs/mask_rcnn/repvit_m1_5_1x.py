# RepViT-M1.5, Table 5, published: 41.6 box AP, 38.6 mask AP.
# tools/dist_train.sh configs/mask_rcnn/repvit_m1_5_1x.py 8
# Recipe: THU-MIG/RepViT, detection/configs/mask_rcnn_repvit_m1_5_fpn_1x_coco.py.
_base_ = 'repvit_m1_1_1x.py'

model = dict(
    backbone=dict(
        model_name='repvit_m1_5',
        init_cfg=dict(
            checkpoint='https://github.com/THU-MIG/RepViT/releases/download/v1.0/repvit_m1_5_distill_300e.pth'
        ),
    ),
)
