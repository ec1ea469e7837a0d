# Table 7, 100 % of the conv blocks of stage 3 as SHA, 9 pairs with an FFN: 1.17 ms, 78.1 % top-1.
_base_ = '../_base_/ablation_300e.py'

model = dict(
    backbone=dict(
        type='mmiformer.IFormerSHA',
        arch=dict(conv_blocks=(2, 2, 0, 2), triples=(0, 0, 9, 0), last_conv_blocks=(0, 0, 0, 0)),
    )
)
