"""Counts of parameters and MACs, against the paper's and against closed forms."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmiformer.benchmark.complexity import DETECTIONS, PROPOSALS, count, count_parts
from mmiformer.benchmark.reference import Reference
from mmiformer.hub import get_config
from mmiformer.models import IFormer, IFormerClassifier
from mmiformer.models.blocks import FFN, SHMA, ConvBlock
from mmiformer.paper import TABLE_3, TABLE_8

from ..helpers import relative_error

BN, GELU = dict(type='BN'), dict(type='GELU')


def table_of_counts() -> list[dict[str, float]]:
    """The rows of the page's table, {arch: figure}."""
    page = (Path(__file__).parents[2] / 'docs' / 'paper_vs_release.md').read_text()
    header, _, *rows = page.split('## Counts')[1].split('\n\n')[2].splitlines()
    archs, *rows = ([cell.strip(' *') for cell in row.split('|')[2:-1]] for row in (header, *rows))
    return [{arch.lower(): float(cell) for arch, cell in zip(archs, row, strict=True) if cell} for row in rows]


def counted(kind: type, arch: str, height: int, width: int, **options):
    """Millions of parameters and GMACs. Nothing is computed: on the meta device tensors have shapes alone."""
    with torch.device('meta'):
        network = kind(arch, **options).eval()
        found, _ = count('', network, network, torch.zeros(1, 3, height, width))
    return round(found.parameters / 1e6, 3), round(found.macs / 1e9, 3)


def test_table_of_classifiers():
    parameters, _, gmacs, _, *_ = table_of_counts()
    found = {arch: counted(IFormerClassifier, arch, 224, 224) for arch in ('t', 's', 'm', 'l', 'l2', 'h')}
    assert {arch: one for arch, (one, _) in found.items()} == parameters
    assert {arch: one for arch, (_, one) in found.items()} == gmacs
    # The paper's L is 0.20 lower than its own released network; the rest agree as far as it prints them.
    printed = [row.gmacs for row in (*(TABLE_3[f'iFormer-{arch}'] for arch in 'TSML'), TABLE_8['iFormer-H'])]
    far = [arch for arch, one in zip('tsmlh', printed, strict=True) if abs(gmacs[arch] - one) > 0.04]
    assert far == ['l'] and gmacs['l'] - printed[3] > 0.19


@pytest.mark.parametrize(('height', 'width', 'row'), [(512, 512, 4), (800, 1344, 6)])
def test_table_of_backbones(height, width, row):
    released, paper = table_of_counts()[row : row + 2]
    archs = ('t', 's', 'm', 'l', 'l2')
    assert {arch: counted(IFormer, arch, height, width)[1] for arch in archs} == released
    assert {arch: counted(IFormer, arch, height, width, window_layout='paper')[1] for arch in archs} == paper


def test_the_second_head():
    assert counted(IFormerClassifier, 'l2', 32, 32, distillation=True)[0] == 25.033


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


# ---- whatever runs is counted


def module_macs(network: nn.Module, image: torch.Tensor) -> int:
    """The MACs of convolutions and linear layers by forward hooks of one's own, as counters of timm and mmcv do it."""
    total = 0

    def add(module, inputs, output):
        nonlocal total
        channels = module.weight[0].numel()  # of an output value
        total += output.numel() * channels

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    network(image)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize('norm_eval', [False, True])
@torch.no_grad()
def test_counters_with_hooks_see_every_layer(norm_eval):
    """In evaluation, and in training with frozen batch norms, where iFormer folds them."""
    network, image = IFormer('t', norm_eval=norm_eval), torch.randn(1, 3, 64, 64)
    network.train(norm_eval)
    whole, _ = count('backbone', network, network, image)
    # Stage 3: two SHMA on a map of 4 x 4 padded to a window of 16 x 16, one on the map; stage 4: two on 2 x 2.
    attention = (2 * 256**2 + 16**2) * (128 + 64) + 2 * 4**2 * (256 + 64)
    assert module_macs(network, image) + attention == whole.macs > 1e8


class Adapter(nn.Module):
    """A convolution with a low-rank correction beside it."""

    def __init__(self, conv: nn.Conv2d, rank: int = 2):
        super().__init__()
        self.conv, self.down = conv, nn.Conv2d(conv.in_channels, rank, 1, bias=False)
        self.up = nn.Conv2d(rank, conv.out_channels, 1, bias=False)

    def forward(self, x):
        return self.conv(x) + self.up(self.down(x))


@torch.no_grad()
def test_a_replaced_layer_is_counted_and_run():
    network, image = IFormer('t').eval(), torch.randn(1, 3, 64, 64)
    before, maps = count('', network, network, image)
    unit = network.stages[0].blocks[0].expand
    unit.conv = Adapter(unit.conv)
    after, changed = count('', network, network, image)
    channels = unit.norm.num_features
    extra = 2 * (32 + channels)  # of each of the 16 x 16 pixels
    assert after.macs - before.macs == 16 * 16 * extra and after.parameters - before.parameters == extra
    assert not torch.equal(maps[0], changed[0])
    for folded in (True, False):  # the yardstick of the benchmark runs it too
        reference = Reference(network, folded)
        assert relative_error(reference(image)[0], changed[0]) < 1e-5
        assert count('', reference, reference, image)[0].macs == after.macs


@torch.no_grad()
def test_known_products():
    conv, grouped = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)
    linear = nn.Linear(8, 4, bias=False)

    def run(image):
        return linear(grouped(conv(image).relu()).flatten(2).transpose(1, 2))

    found, maps = count('', nn.Sequential(conv, grouped, linear), run, torch.rand(2, 3, 10, 12))
    assert found == ('', 8 * 27 + 8 + 8 * 25 + 8 * 4, 2 * 10 * 12 * (8 * 3 * 9 + 8 * 25 + 8 * 4))
    assert maps.shape == (2, 120, 4)


def test_fused_attention_is_two_products():
    q, k, v = (torch.rand(1, 2, tokens, 16) for tokens in (30, 40, 40))
    assert count('', nn.Identity(), F.scaled_dot_product_attention, q, k, v)[0].macs == 2 * (2 * 30 * 40 * 16)
