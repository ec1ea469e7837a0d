# PVTv2-B1, Table 5, published: 41.8 box AP, 38.8 mask AP.
# tools/dist_train.sh configs/mask_rcnn/pvtv2_b1_1x.py 8
# Recipe: whai362/PVT, detection/configs/mask_rcnn_pvt_v2_b1_fpn_1x_coco.py.
_base_ = '../_base_/mask_rcnn_1x.py'

model = dict(
    backbone=dict(
        type='mmiformer.TimmBackbone',
        model_name='pvt_v2_b1',
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained', checkpoint='https://huggingface.co/timm/pvt_v2_b1.in1k/resolve/main/model.safetensors'
        ),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
_base_.param_scheduler[0].start_factor = 1e-3
