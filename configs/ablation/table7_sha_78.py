# Table 7, 78 % of the conv blocks of stage 3 as SHA, 7 pairs with an FFN: 1.12 ms, 79.3 % top-1.
_base_ = '../_base_/ablation_300e.py'

model = dict(
    backbone=dict(
        type='mmiformer.IFormerSHA',
        arch=dict(conv_blocks=(2, 2, 3, 2), triples=(0, 0, 7, 0), last_conv_blocks=(0, 0, 1, 0)),
    )
)
