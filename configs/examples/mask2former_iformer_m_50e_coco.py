# Mask2Former for instance segmentation on iFormer-M. It works from any folder: copy it, change it.
# Optimiser and schedule are those of mmdet's ResNet-50: AdamW 1e-4, a tenth of it in the backbone, 8 GPUs x 2 images.
_base_ = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'
checkpoint = 'https://github.com/ChuanyangZheng/iFormer/releases/download/v0.9/iFormer_m_distill.pth'

model = dict(
    backbone=dict(
        _delete_=True,  # of mmdet's ResNet
        type='mmiformer.IFormer',
        arch='m',
        norm_eval=True,  # as in the released Mask R-CNN recipe
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    panoptic_head=dict(in_channels=[48, 96, 192, 384]),  # Table 15
)
