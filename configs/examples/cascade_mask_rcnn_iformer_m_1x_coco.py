# Cascade Mask R-CNN on iFormer-M (no published score). Works from any folder: copy it and change it.
# tools/dist_train.sh configs/examples/cascade_mask_rcnn_iformer_m_1x_coco.py 8
_base_ = 'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,  # of mmdet's ResNet
        type='mmiformer.IFormer',
        arch='m',
        norm_eval=True,  # as in the released Mask R-CNN recipe
        init_cfg=dict(type='Pretrained', checkpoint='iFormer_m_distill.pth'),
    ),
    neck=dict(in_channels=[48, 96, 192, 384]),  # Table 15
)
# Those of the released Mask R-CNN recipe, for the same batch of 8 GPUs x 2 images.
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.05))
