# iFormer-L, Table 4, published: 82.7 % top-1. tools/dist_train.sh configs/imagenet/iformer_l_distill_300e.py 8
_base_ = 'iformer_m_distill_300e.py'

model = dict(arch='l')  # released recipe: no stochastic depth with distillation
