# FastViT-SA24, Table 5, published: 41.0 mIoU.
# tools/dist_train.sh configs/sem_fpn/fastvit_sa24_40k.py 8
# Recipe: ours, that of fastvit_sa12_40k.py.
_base_ = 'fastvit_sa12_40k.py'

model = dict(
    backbone=dict(
        model_name='fastvit_sa24',
        init_cfg=dict(checkpoint='https://huggingface.co/timm/fastvit_sa24.apple_in1k/resolve/main/model.safetensors'),
    ),
)
