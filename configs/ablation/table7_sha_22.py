# Table 7, 22 % of the conv blocks of stage 3 as SHA, 2 pairs with an FFN: 1.02 ms, 79.5 % top-1.
_base_ = '../_base_/ablation_300e.py'

model = dict(
    backbone=dict(
        type='mmiformer.IFormerSHA',
        arch=dict(conv_blocks=(2, 2, 13, 2), triples=(0, 0, 2, 0), last_conv_blocks=(0, 0, 1, 0)),
    )
)
