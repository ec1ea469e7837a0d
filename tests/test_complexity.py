"""Counts of parameters and MACs, against the paper's and against closed forms."""

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmiformer.complexity import DETECTIONS, PROPOSALS, count, count_parts
from mmiformer.hub import get_config
from mmiformer.models import IFormer, IFormerClassifier
from mmiformer.models.blocks import FFN, SHMA, ConvBlock

BN, GELU = dict(type='BN'), dict(type='GELU')


# Parameters and GMACs of the released classifiers with one head, and the GMACs that Tables 3 and 8 print.
@pytest.mark.parametrize(
    'arch, parameters, gmacs, printed',
    [
        ('t', 2.886, 0.530, 0.53),
        ('s', 6.563, 1.092, 1.09),
        ('m', 8.907, 1.640, 1.64),
        ('l', 14.780, 2.827, 2.63),
        ('l2', 24.519, 4.531, 4.50),
        ('h', 99.597, 15.530, 15.5),
    ],
)
def test_classifiers_at_224(arch, parameters, gmacs, printed):
    classifier = IFormerClassifier(arch).eval()
    counted, _ = count('classifier', classifier, classifier, torch.zeros(1, 3, 224, 224))
    assert round(counted.parameters / 1e6, 3) == parameters
    assert round(counted.macs / 1e9, 3) == gmacs
    # The paper's L is 0.20 lower than its own released network; the rest agree as far as it prints them.
    assert (abs(gmacs - printed) > 0.19) == (arch == 'l') and (arch == 'l' or abs(gmacs - printed) < 0.04)


def test_the_second_head():
    classifier = IFormerClassifier('l2', distillation=True).eval()
    counted, _ = count('classifier', classifier, classifier, torch.zeros(1, 3, 32, 32))
    assert round(counted.parameters / 1e6, 3) == 25.033


def macs(block, channels: int, height: int, width: int, windows: int = 1) -> int:
    return count('', block, block.eval(), torch.zeros(windows, channels, height, width))[0].macs


def equation_6(height: int, width: int, channels: int, window: int) -> int:
    """Equation 6 without the element-wise product, which is no multiply-accumulate."""
    pixels = height * width
    return 4 * pixels * channels**2 + 2 * window**2 * pixels * channels


def equation_7(height: int, width: int, channels: int) -> int:
    return 8 * height * width * channels**2


@pytest.mark.parametrize('channels, window, rows, columns', [(32, 16, 2, 3), (64, 7, 1, 1)])
def test_equations_6_and_7(channels, window, rows, columns):
    """The closed forms hold for what they leave out: the gate's projection, other query dimensions, other ratios."""
    height, width, windows = rows * window, columns * window, rows * columns
    pixels = height * width
    # D = C: q, k, v, gate and output are five projections, of which equation 6 counts four.
    full = macs(SHMA(channels, channels, BN), channels, window, window, windows)
    assert full == equation_6(height, width, channels, window) + pixels * channels**2
    # D = C/2, as in stage 3: the five cost what equation 6 says, the attention three quarters of it.
    half = macs(SHMA(channels, channels // 2, BN), channels, window, window, windows)
    assert half == equation_6(height, width, channels, window) - window**2 * pixels * channels // 2
    # D = C/4, as in stage 4.
    quarter = macs(SHMA(channels, channels // 4, BN), channels, window, window, windows)
    assert 8 * quarter == 28 * pixels * channels**2 + 10 * window**2 * pixels * channels
    # Equation 7 is that of an FFN of ratio 4; the released ones have 2, 3 and, in H alone, 4.
    for ratio in (2, 3, 4):
        ffn = macs(FFN(channels, ratio, BN, GELU), channels, window, window, windows)
        assert 4 * ffn == ratio * equation_7(height, width, channels)


def test_a_block_by_hand():
    # 7 x 7 depthwise, then to four times the channels and back, at 5 x 6 pixels
    assert macs(ConvBlock(8, 4, BN, GELU), 8, 5, 6) == 5 * 6 * (49 * 8 + 8 * 32 + 32 * 8)


def test_windows_count_their_padding():
    """At 320 x 448 stage 3 has 20 x 28 pixels, padded to 32 x 32 for windows; all four SHMA of M are in them."""
    on_windows, whole = (
        count('', backbone, backbone.eval(), torch.zeros(1, 3, 320, 448))[0].macs
        for backbone in (IFormer('m'), IFormer('m', window_size=None))
    )
    channels, head_dim = 192, 96
    padded, pixels = 32 * 32, 20 * 28
    linear = 4 * (3 * channels**2 + 2 * channels * head_dim)  # projections of the four SHMA
    linear += 3 * (6 * channels**2 + 9 * channels)  # FFN and CPE between them
    attention = 4 * (channels + head_dim)
    difference = linear * (padded - pixels) + attention * (padded * 16**2 - pixels**2)
    assert on_windows - whole == difference


def build(name: str):
    config = get_config(name)
    init_default_scope(config.default_scope)
    return MODELS.build(config.model)


def test_a_detector_part_by_part():
    counts = {part.name: part for part in count_parts(build('mask_rcnn/iformer_t_1x'), 256, 320)}
    assert list(counts) == ['backbone', 'neck', 'rpn_head', 'box head', 'mask head', 'whole']
    parts = [part for name, part in counts.items() if name != 'whole']
    assert counts['whole'].macs == sum(part.macs for part in parts)
    assert counts['whole'].parameters == sum(part.parameters for part in parts)
    # Two fully connected layers of 1024 on 7 x 7 x 256, then 81 classes and 80 boxes.
    assert counts['box head'].macs == PROPOSALS * (49 * 256 * 1024 + 1024 * 1024 + 1024 * (81 + 320))
    # Four 3 x 3 convolutions at 14 x 14, a 2 x 2 transposed one to 28 x 28, 80 masks.
    mask = 196 * (4 * 9 * 256 * 256 + 4 * 256 * 256) + 784 * 256 * 80
    assert counts['mask head'].macs == DETECTIONS * mask
    # The neck: a 1 x 1 convolution of each map to 256 channels, and a 3 x 3 one.
    pixels = [64 * 80, 32 * 40, 16 * 20, 8 * 10]
    assert counts['neck'].macs == sum(n * 256 * (c + 9 * 256) for n, c in zip(pixels, (32, 64, 128, 256), strict=True))


def test_a_segmentor_part_by_part():
    counts = {part.name: part for part in count_parts(build('sem_fpn/iformer_t_40k'), 128, 128)}
    assert list(counts) == ['backbone', 'neck', 'decode_head', 'whole']
    assert counts['whole'].macs == sum(part.macs for name, part in counts.items() if name != 'whole')


def test_parts_that_cannot_be_run_alone():
    model = build('mask_rcnn/iformer_t_1x')
    model.encoder = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match='MaskRCNN has parts that cannot be run on their own: encoder'):
        count_parts(model, 64, 64)
