# PoolFormer-S24, Table 5, published: 40.1 box AP, 37.0 mask AP.
# tools/dist_train.sh configs/mask_rcnn/poolformer_s24_1x.py 8
# Recipe: sail-sg/poolformer, detection/configs/mask_rcnn_poolformer_s24_fpn_1x_coco.py.
_base_ = 'poolformer_s12_1x.py'

model = dict(
    backbone=dict(
        model_name='poolformer_s24',
        init_cfg=dict(checkpoint='https://github.com/sail-sg/poolformer/releases/download/v1.0/poolformer_s24.pth.tar'),
    ),
)
