# Table 7, 100 % of the conv blocks of stage 3 as SHMA, 9 pairs with an FFN: 1.25 ms, 79.0 % top-1.
_base_ = '../_base_/ablation_300e.py'

model = dict(backbone=dict(arch=dict(conv_blocks=(2, 2, 0, 2), triples=(0, 0, 9, 0), last_conv_blocks=(0, 0, 0, 0))))
