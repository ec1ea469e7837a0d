"""The backbone: shapes, windows against explicit loops, training behavior, wrong arguments."""

import copy

import pytest
import torch
from torch import nn

from mmiformer.models import IFormer
from mmiformer.models.arch import ARCHS
from mmiformer.models.blocks import CPE, FFN, SHMA
from mmiformer.stack import CPU_AUTOCAST

from ..helpers import SHALLOW, TINY, randomize, relative_error
from ..left_out import needs_extra

SIZES = [(32, 32), (64, 96), (131, 77), (250, 33)]


def tiny(**kwargs):
    return randomize(IFormer(arch=TINY, window_size=kwargs.pop('window_size', 3), **kwargs))


def outputs_and_gradients(network, x):
    outputs = network(x)
    sum(output.square().mean() for output in outputs).backward()
    return outputs, {name: parameter.grad for name, parameter in network.named_parameters()}


# Shapes


@pytest.mark.parametrize('size', SIZES)
def test_maps_have_the_channels_and_strides_of_feature_info(size):
    network = tiny().eval()
    outputs = network(torch.randn(2, 3, *size))
    assert [info['stride'] for info in network.feature_info] == [4, 8, 16, 32]
    for output, info in zip(outputs, network.feature_info, strict=True):
        stride = info['stride']
        assert output.shape == (2, info['channels'], -(-size[0] // stride), -(-size[1] // stride))
        assert output.is_contiguous()  # or mmcv's RoIAlign silently pools from other places


@pytest.mark.parametrize('out_indices', [(0,), (2,), (1, 3), [0, 1, 2]])
def test_out_indices_choose_maps_and_later_stages_are_not_built(out_indices):
    full, network = tiny().eval(), IFormer(arch=TINY, window_size=3, out_indices=out_indices)
    network.load_state_dict(full.state_dict())
    x = torch.randn(1, 3, 64, 64)
    everything, chosen = full(x), network.eval()(x)
    assert len(network.stages) == out_indices[-1] + 1
    assert len(chosen) == len(out_indices)
    assert all(torch.equal(chosen[i], everything[index]) for i, index in enumerate(out_indices))


def test_in_channels():
    assert tiny(in_channels=5).eval()(torch.randn(1, 5, 32, 32))[0].shape == (1, 8, 8, 8)


# Windows


def by_loops(network, x, first_cut, last_window):
    """The network, with stage 3 windowed by explicit loops over windows: slow, obviously right.

    The map is cut after the `first_cut`-th block of stage 3 and joined after block `last_window`.
    """
    outputs = []
    x = network.stem(x)
    for index, stage in enumerate(network.stages):
        x = stage.downsample(x)
        blocks = list(stage.blocks)
        if index == 2:
            for block in blocks[: first_cut + 1]:
                x = block(x)
            batch, channels, height, width = x.shape
            padded = torch.zeros(batch, channels, -(-height // 3) * 3, -(-width // 3) * 3)
            padded[:, :, :height, :width] = x
            for image in range(batch):
                for top in range(0, padded.shape[2], 3):
                    for left in range(0, padded.shape[3], 3):
                        window = padded[image : image + 1, :, top : top + 3, left : left + 3].clone()
                        for block in blocks[first_cut + 1 : last_window + 1]:
                            window = block(window)
                        padded[image, :, top : top + 3, left : left + 3] = window[0]
            x = padded[:, :, :height, :width]
            blocks = blocks[last_window + 1 :]
        for block in blocks:
            x = block(x)
        outputs.append(x)
    return outputs


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('windowed', [1, 2, 3])
@torch.no_grad()
def test_released_layout_is_windowed_as_by_explicit_loops(size, windowed):
    network = randomize(IFormer(arch=dict(TINY, windowed=(0, 0, windowed, 0)), window_size=3)).eval()
    blocks = network.stages[2].blocks
    attentions = [index for index, block in enumerate(blocks) if isinstance(block, SHMA)]
    assert len(attentions) == 3
    x = torch.randn(2, 3, *size)
    expected = by_loops(network, x, attentions[0] - 1, attentions[windowed - 1])
    for actual, slow in zip(network(x), expected, strict=True):
        assert relative_error(actual, slow) < 1e-5


@torch.no_grad()
def test_paper_layout_joins_before_the_last_attention_and_windows_stage_4_too():
    network = tiny(window_layout='paper').eval()
    blocks = network.stages[2].blocks
    last = [index for index, block in enumerate(blocks) if isinstance(block, CPE)][-1]
    assert isinstance(blocks[last + 1], SHMA)
    start, stop = network.stages[3].span
    assert [type(block) for block in network.stages[3].blocks[start:stop]] == [SHMA, FFN, CPE]
    network.stages[3].span = (0, 0)  # the loops window stage 3 alone
    x = torch.randn(2, 3, 131, 77)
    first = next(index for index, block in enumerate(blocks) if isinstance(block, CPE))
    for actual, slow in zip(network(x), by_loops(network, x, first, last), strict=True):
        assert relative_error(actual, slow) < 1e-5


@pytest.mark.parametrize(
    'arch, windowed', [('t', (2, 3)), ('s', (2, 3)), ('m', (4, 4)), ('l', (7, 8)), ('l2', (10, 11)), ('h', (14, 15))]
)
def test_released_layout_windows_as_many_attentions_as_published(arch, windowed):
    with torch.device('meta'):
        network = IFormer(arch)
    counts = []
    for stage in network.stages:
        start, stop = stage.span
        assert not stop or isinstance(stage.blocks[start], SHMA) and isinstance(stage.blocks[stop - 1], SHMA)
        attentions = [isinstance(block, SHMA) for block in stage.blocks]
        counts.append((sum(attentions[start:stop]), sum(attentions)))
    assert counts[2] == windowed and [count for count, _ in counts] == [0, 0, windowed[0], 0]


@torch.no_grad()
def test_chunks_change_nothing_and_windows_and_modulation_do():
    x = torch.randn(1, 3, 131, 77)
    reference = tiny(num_chunks=1).eval()(x)
    for chunks in (2, 16, 1000):
        assert all(torch.equal(a, b) for a, b in zip(tiny(num_chunks=chunks).eval()(x), reference, strict=True))
    for other in (dict(window_size=None), dict(window_size=4), dict(window_layout='paper'), dict(modulation='context')):
        outputs = tiny(**other).eval()(x)
        assert torch.equal(outputs[1], reference[1]) and relative_error(outputs[2], reference[2]) > 1e-3


@torch.no_grad()
def test_one_window_that_fits_is_global_attention():
    x = torch.randn(1, 3, 48, 48)  # stage 3 is 3 x 3
    for a, b in zip(tiny(window_size=3).eval()(x), tiny(window_size=None).eval()(x), strict=True):
        assert torch.equal(a, b)


# Training


@pytest.mark.parametrize('norm_eval', [False, True])
def test_checkpointing_changes_no_output_gradient_or_statistic(norm_eval):
    x = torch.randn(2, 3, 64, 96)
    results = []
    for with_cp in (False, True):
        network = tiny(with_cp=with_cp, norm_eval=norm_eval).train()
        outputs, gradients = outputs_and_gradients(network, x)
        results.append((outputs, gradients, dict(network.named_buffers())))
    (outputs, gradients, buffers), (cp_outputs, cp_gradients, cp_buffers) = results
    assert all(torch.equal(a, b) for a, b in zip(outputs, cp_outputs, strict=True))
    for name, gradient in gradients.items():
        torch.testing.assert_close(cp_gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert buffers and all(torch.equal(cp_buffers[name], buffer) for name, buffer in buffers.items())


@pytest.mark.parametrize('kwargs', [{}, dict(out_indices=(1,)), dict(layer_scale_init_value=0.1)])
def test_every_parameter_gets_a_gradient(kwargs):
    network = tiny(**kwargs).train()
    _, gradients = outputs_and_gradients(network, torch.randn(2, 3, 70, 90))
    assert gradients and all(g is not None and g.abs().max() > 0 for g in gradients.values())


def test_gradients_in_float32_are_those_in_float64_for_a_single_window():
    network = tiny(norm_eval=True).train()
    x = torch.randn(1, 3, 48, 48)
    _, gradients = outputs_and_gradients(network, x)
    _, exact = outputs_and_gradients(copy.deepcopy(network).double(), x.double())
    scale = max(gradient.abs().max() for gradient in exact.values())
    for name, gradient in gradients.items():
        assert (gradient - exact[name]).abs().max() < 1e-5 * scale, name


def test_norm_eval_keeps_statistics_and_trains_scale_and_shift():
    network = tiny(norm_eval=True)
    assert network.train() is network
    before = copy.deepcopy(dict(network.named_buffers()))
    _, gradients = outputs_and_gradients(network, torch.randn(2, 3, 64, 64))
    assert network.training and before
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())
    assert gradients['stages.2.blocks.0.expand.norm.weight'].abs().max() > 0
    network.norm_eval = False
    network.train()(torch.randn(2, 3, 64, 64))
    assert not all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 3, 4])
def test_frozen_stages_freeze_the_stem_and_the_stages_with_their_downsampling(frozen_stages):
    network = tiny(frozen_stages=frozen_stages)
    assert network.eval().train() is network
    frozen = ['stem.'] * (frozen_stages >= 0) + [f'stages.{i}.' for i in range(frozen_stages)]
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad != name.startswith(tuple(frozen)), name
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training != name.startswith(tuple(frozen)), name


def test_layer_scale_is_what_the_variant_has_unless_told_otherwise():
    def gammas(**kwargs):
        return [p for name, p in IFormer(**kwargs).named_parameters() if name.endswith('gamma')]

    h = dict(TINY, layer_scale=1e-6)
    values = gammas(arch=h)
    assert len(values) == 5 + 2 * 5  # conv blocks; SHMA and FFN of each triple
    assert all((value == 1e-6).all() for value in values)
    assert all((value == 0.1).all() for value in gammas(arch=h, layer_scale_init_value=0.1))
    assert not gammas(arch=h, layer_scale_init_value=0) and not gammas(arch=TINY)
    assert {name for name, arch in ARCHS.items() if arch.layer_scale} == {'h'} and ARCHS['h'].layer_scale == 1e-6


def test_drop_path_rises_linearly_over_all_blocks_cpe_counted():
    network = tiny(drop_path_rate=0.2)
    blocks = [block for stage in network.stages for block in stage.blocks]
    rates = [getattr(block.drop_path, 'drop_prob', 0.0) for block in blocks]
    expected = [0.0 if isinstance(block, CPE) else 0.2 * i / (len(blocks) - 1) for i, block in enumerate(blocks)]
    assert rates == pytest.approx(expected)


def test_init_weights_is_truncated_normal():
    network = IFormer('t')
    network.init_weights()
    convolutions = torch.cat([m.weight.flatten() for m in network.modules() if isinstance(m, nn.Conv2d)])
    assert convolutions.std().item() == pytest.approx(0.02, rel=0.01)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all((m.weight == 1).all() and (m.bias == 0).all() and m.eps == 1e-5 for m in norms)


def test_norm_and_activation_follow_their_configs():
    network = IFormer(TINY, norm_cfg=dict(type='GN', num_groups=4), act_cfg=dict(type='ReLU'))
    kinds = {type(module) for module in network.modules()}
    assert {nn.GroupNorm, nn.ReLU} <= kinds and not {nn.BatchNorm2d, nn.GELU} & kinds
    network(torch.randn(1, 3, 64, 64))


# Compilers and precision


@pytest.mark.parametrize('dtype', CPU_AUTOCAST)
def test_autocast(dtype):
    network, x = tiny(norm_eval=True).train(), torch.randn(1, 3, 96, 96)
    exact = network(x)
    with torch.autocast('cpu', dtype):
        outputs, gradients = outputs_and_gradients(network, x)
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    for output, expected in zip(outputs, exact, strict=True):
        assert relative_error(output, expected) < 0.05


@pytest.mark.parametrize('with_cp', [False, True])
def test_compile_makes_one_graph_with_the_same_outputs_and_gradients(with_cp):
    network, x = randomize(IFormer(SHALLOW, norm_eval=True, with_cp=with_cp)).train(), torch.randn(2, 3, 70, 90)
    outputs, gradients = outputs_and_gradients(network, x)
    gradients = {name: gradient.clone() for name, gradient in gradients.items()}
    network.zero_grad()
    compiled = torch.compile(network, backend='aot_eager', fullgraph=True)
    compiled_outputs = compiled(x)
    sum(output.square().mean() for output in compiled_outputs).backward()
    for a, b in zip(compiled_outputs, outputs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-4, msg=name)
    torch.compiler.reset()


def test_trace():
    network, x = randomize(IFormer(SHALLOW)).eval(), torch.randn(1, 3, 70, 90)
    traced = torch.jit.trace(network, x, check_trace=False)
    for output, wanted in zip(traced(x), network(x), strict=True):
        torch.testing.assert_close(output, wanted, rtol=1e-4, atol=1e-5)


def test_export():
    needs_extra('exports')
    network, x = randomize(IFormer(SHALLOW)).eval(), torch.randn(1, 3, 70, 90)
    expected = network(x)
    batch = torch.export.Dim('batch', min=1, max=64)
    exported = torch.export.export(network, (torch.randn(2, 3, 70, 90),), dynamic_shapes=({0: batch},)).module()
    strict = torch.export.export(network, (x,), strict=True).module()  # with gradients on, as they are by default
    for outputs in (exported(x), strict(x)):
        for output, wanted in zip(outputs, expected, strict=True):
            torch.testing.assert_close(output, wanted, rtol=1e-4, atol=1e-5)


# Wrong arguments


@pytest.mark.parametrize(
    'kwargs, error, words',
    [
        (dict(arch='xl'), ValueError, "'xl'.*t, s, m, l, l2, h"),
        (dict(arch=3), TypeError, 'arch'),
        (dict(arch=dict(TINY, widths=3)), ValueError, 'widths.*stem_channels'),
        (dict(arch={k: v for k, v in TINY.items() if k != 'triples'}), ValueError, 'missing.*triples'),
        (dict(arch=dict(TINY, triples=(0, 0, 3))), ValueError, r'triples.*3 entries.*4'),
        (dict(arch=dict(TINY, head_dims=(0, 0, 0, 8))), ValueError, r'head_dims\[2\]'),
        (dict(arch=dict(TINY, windowed=(0, 0, 4, 0))), ValueError, r'windowed\[2\]=4'),
        (dict(out_indices=2), TypeError, r'out_indices.*\(2,\)'),
        (dict(out_indices=()), ValueError, 'out_indices'),
        (dict(out_indices=(1, 1)), ValueError, 'out_indices'),
        (dict(out_indices=(0, 4)), ValueError, r'out_indices.*\(0, 1, 2, 3\)'),
        (dict(out_indices=(-1,)), ValueError, 'out_indices'),
        (dict(window_size=0), ValueError, 'window_size'),
        (dict(num_chunks=0), ValueError, 'num_chunks'),
        (dict(window_layout='swin'), ValueError, "'swin'.*'released' or 'paper'"),
        (dict(modulation='gate'), ValueError, "'gate'.*'value' or 'context'"),
        (dict(drop_path_rate=1.0), ValueError, 'drop_path_rate'),
        (dict(frozen_stages=5), ValueError, 'frozen_stages=5.*4'),
        (dict(depth=50), TypeError, 'depth'),
    ],
)
def test_wrong_arguments_name_the_argument_and_what_is_allowed(kwargs, error, words):
    with pytest.raises(error, match=words):
        IFormer(**{'arch': TINY, **kwargs})
