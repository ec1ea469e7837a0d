# Mask2Former for instance segmentation on iFormer-M (no published score). Works from any folder: copy it and change it.
# tools/dist_train.sh configs/examples/mask2former_iformer_m_50e_coco.py 8
# Optimizer and schedule are those of mmdet's ResNet-50: AdamW 1e-4, a tenth of it in the backbone, 8 GPUs x 2 images.
_base_ = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,  # of mmdet's ResNet
        type='mmiformer.IFormer',
        arch='m',
        norm_eval=True,  # as in the released Mask R-CNN recipe
        init_cfg=dict(type='Pretrained', checkpoint='iFormer_m_distill.pth'),
    ),
    panoptic_head=dict(in_channels=[48, 96, 192, 384]),  # Table 15
)
