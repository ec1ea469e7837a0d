# Figure 2, "Normalization", and overlapping downsampling: 0.77 ms, 77.1 % top-1.
_base_ = '../_base_/ablation_300e.py'

model = dict(
    backbone=dict(
        type='mmiformer.IFormerSmallStem',
        arch=dict(
            conv_blocks=(2, 2, 6, 2), triples=(0, 0, 0, 0), last_conv_blocks=(0, 0, 0, 0), head_dims=(0, 0, 0, 0)
        ),
    )
)
