# iFormer-M, Table 3, published: 80.4 % top-1. tools/dist_train.sh configs/imagenet/iformer_m_300e.py 8
_base_ = '../_base_/imagenet_300e.py'

model = dict(
    type='mmiformer.IFormerClassifier',
    arch='m',
    num_classes=1000,
    drop_path_rate=0.0,  # Table 9
    label_smoothing=0.1,  # Table 9
)
