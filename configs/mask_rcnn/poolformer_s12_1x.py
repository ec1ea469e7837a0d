# PoolFormer-S12, Table 5, published: 37.3 box AP, 34.6 mask AP.
# tools/dist_train.sh configs/mask_rcnn/poolformer_s12_1x.py 8
# Recipe: sail-sg/poolformer, detection/configs/mask_rcnn_poolformer_s12_fpn_1x_coco.py.
_base_ = '../_base_/mask_rcnn_1x.py'

model = dict(
    backbone=dict(
        type='mmiformer.TimmBackbone',
        model_name='poolformer_s12',
        output_norm='GN1',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/sail-sg/poolformer/releases/download/v1.0/poolformer_s12.pth.tar',
        ),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
_base_.param_scheduler[0].start_factor = 1e-3
