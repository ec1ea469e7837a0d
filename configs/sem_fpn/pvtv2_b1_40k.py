# PVTv2-B1, Table 5, published: 42.5 mIoU.
# tools/dist_train.sh configs/sem_fpn/pvtv2_b1_40k.py 8
# Recipe: PVT v1's, since none is published for v2: whai362/PVT, segmentation/configs/
# sem_fpn/PVT/fpn_pvt_s_ade20k_40k.py.
_base_ = '../_base_/sem_fpn_40k.py'

model = dict(
    backbone=dict(
        type='mmiformer.TimmBackbone',
        model_name='pvt_v2_b1',
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained', checkpoint='https://huggingface.co/timm/pvt_v2_b1.in1k/resolve/main/model.safetensors'
        ),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
_base_.param_scheduler[0].eta_min = 0.0
