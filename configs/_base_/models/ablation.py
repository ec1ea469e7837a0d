# What the ablations of iFormer-M start from: the network of the step "SHMA" in figure 2, before its width is reduced,
# as an ImageNet classifier. A child says what it has instead. docs/ablation.md has the counts of all of them.
model = dict(
    type='mmiformer.AblationClassifier',
    num_classes=1000,
    label_smoothing=0.1,  # Table 9
    backbone=dict(
        type='mmiformer.IFormerNoCPE',
        arch=dict(
            stem_channels=24,
            channels=(48, 96, 192, 384),
            conv_blocks=(2, 2, 9, 0),
            triples=(0, 0, 4, 2),
            last_conv_blocks=(0, 0, 1, 0),
            head_dims=(0, 0, 192, 384),  # as many as the map has: the counts of Tables 7, 10 and 14 need them
            conv_ratio=4,
            ffn_ratio=4,
        ),
        out_indices=(3,),
        window_size=None,
    ),
)
