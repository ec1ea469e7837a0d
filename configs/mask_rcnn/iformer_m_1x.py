# iFormer-M, Table 5, published: 40.8 box AP, 37.9 mask AP. tools/dist_train.sh configs/mask_rcnn/iformer_m_1x.py 8
_base_ = [
    '../_base_/models/mask_rcnn_iformer.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/1x.py',
    '../_base_/mmdet_runtime.py',
]

model = dict(
    backbone=dict(arch='m', init_cfg=dict(checkpoint='iFormer_m_distill.pth')),  # distilled, as in the recipe
    neck=dict(in_channels=[48, 96, 192, 384]),  # Table 15
)
