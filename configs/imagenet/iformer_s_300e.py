# iFormer-S, Table 3, published: 78.8 % top-1. tools/dist_train.sh configs/imagenet/iformer_s_300e.py 8
_base_ = 'iformer_m_300e.py'

model = dict(arch='s')
