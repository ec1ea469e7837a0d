# iFormer-L, Table 3, published: 81.9 % top-1. tools/dist_train.sh configs/imagenet/iformer_l_300e.py 8
_base_ = 'iformer_m_300e.py'

model = dict(arch='l', drop_path_rate=0.1)  # Table 9
