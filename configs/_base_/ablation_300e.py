# The ablations of the paper, in its recipe for ImageNet-1K. A child says what its network has instead.
_base_ = ['models/ablation.py', 'datasets/imagenet.py', 'schedules/300e.py', 'mmpretrain_runtime.py']
