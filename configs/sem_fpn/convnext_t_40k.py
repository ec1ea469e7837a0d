# ConvNeXt-T, Table 5, published: 41.4 mIoU.
# tools/dist_train.sh configs/sem_fpn/convnext_t_40k.py 8
# Recipe: ours, since none is published: RepViT's, with a layer norm on each output as in
# ConvNeXt's own detectors. The weights on timm's hub are the exponential moving average.
_base_ = '../_base_/sem_fpn_40k.py'

model = dict(
    backbone=dict(
        type='mmiformer.TimmBackbone',
        model_name='convnext_tiny',
        output_norm='LN',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/timm/convnext_tiny.fb_in1k/resolve/main/model.safetensors',
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
