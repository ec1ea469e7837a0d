# Table 7, 22 % of the conv blocks of stage 3 as SHMA, 2 pairs with an FFN: 1.04 ms, 79.6 % top-1.
_base_ = '../_base_/ablation_300e.py'

model = dict(backbone=dict(arch=dict(conv_blocks=(2, 2, 13, 2), triples=(0, 0, 2, 0), last_conv_blocks=(0, 0, 1, 0))))
