# Figure 2, "Reducing Width": 1.10 ms, 80.2 % top-1. Widths of Table 15.
_base_ = '../_base_/ablation_300e.py'

model = dict(backbone=dict(arch=dict(head_dims=(0, 0, 96, 96), ffn_ratio=3)))
