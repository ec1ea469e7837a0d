# iFormer-M, Table 4, published: 81.1 % top-1. tools/dist_train.sh configs/imagenet/iformer_m_distill_300e.py 8
_base_ = 'iformer_m_300e.py'

model = dict(
    distillation=True,
    # Section B.1: RegNetY-16GF, hard labels; released recipe: DeiT's weights, half and half.
    teacher=dict(
        type='mmpretrain.TimmClassifier',
        model_name='regnety_160',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/timm/regnety_160.deit_in1k/resolve/main/model.safetensors',
        ),
    ),
)
