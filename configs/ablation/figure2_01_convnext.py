# Figure 2, the lightened ConvNeXt: 1.07 ms, 74.9 % top-1. The paper does not give its widths; these are iFormer-M's.
_base_ = '../_base_/ablation_300e.py'

model = dict(
    backbone=dict(
        type='mmiformer.LightConvNeXt',
        norm_cfg=dict(type='mmiformer.LayerNorm2d'),
        arch=dict(
            conv_blocks=(2, 2, 6, 2), triples=(0, 0, 0, 0), last_conv_blocks=(0, 0, 0, 0), head_dims=(0, 0, 0, 0)
        ),
    )
)
