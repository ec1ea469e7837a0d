# Table 7, 50 % of the conv blocks of stage 3 as SHA, 4 pairs with an FFN: 1.04 ms, 79.5 % top-1.
_base_ = '../_base_/ablation_300e.py'

model = dict(
    backbone=dict(
        type='mmiformer.IFormerSHA',
        arch=dict(conv_blocks=(2, 2, 9, 2), triples=(0, 0, 4, 0), last_conv_blocks=(0, 0, 1, 0)),
    )
)
