# FastViT-SA24, Table 5, published: 42.0 box AP, 38.0 mask AP.
# tools/dist_train.sh configs/mask_rcnn/fastvit_sa24_1x.py 8
# Recipe: ours, that of fastvit_sa12_1x.py.
_base_ = 'fastvit_sa12_1x.py'

model = dict(
    backbone=dict(
        model_name='fastvit_sa24',
        init_cfg=dict(checkpoint='https://huggingface.co/timm/fastvit_sa24.apple_in1k/resolve/main/model.safetensors'),
    ),
)
