# iFormer-T, Table 3, published: 74.1 % top-1. tools/dist_train.sh configs/imagenet/iformer_t_300e.py 8
_base_ = 'iformer_m_300e.py'

model = dict(arch='t')
