# ImageNet-1K for any classifier, in the recipe of Table 9. A child sets the model.
_base_ = ['datasets/imagenet.py', 'schedules/300e.py', 'mmpretrain_runtime.py']
