# Table 14, "+ concat", the attention of SHViT: 1.11 ms, 79.5 % top-1.
_base_ = 'figure2_08_sha.py'

model = dict(backbone=dict(type='mmiformer.IFormerConcatSHA'))
