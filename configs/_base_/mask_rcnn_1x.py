# Mask R-CNN 1x on COCO for any backbone, in RepViT's recipe, which is iFormer's too. A child sets the backbone, the
# neck's in_channels, and what its own recipe has otherwise.
_base_ = ['models/mask_rcnn.py', 'datasets/coco_instance.py', 'schedules/1x.py', 'mmdet_runtime.py']
