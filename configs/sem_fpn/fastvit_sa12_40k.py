# FastViT-SA12, Table 5, published: 38.0 mIoU.
# tools/dist_train.sh configs/sem_fpn/fastvit_sa12_40k.py 8
# Recipe: ours, since none is published: RepViT's, but that batch norms train. Those on the outputs,
# from apple/ml-fastvit's dense network, start fresh, and with frozen statistics they would normalize nothing.
_base_ = '../_base_/sem_fpn_40k.py'

model = dict(
    backbone=dict(
        type='mmiformer.TimmBackbone',
        model_name='fastvit_sa12',
        output_norm='BN',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/timm/fastvit_sa12.apple_in1k/resolve/main/model.safetensors',
        ),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
