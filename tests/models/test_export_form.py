"""The export form against the network it is made from, and what its graph holds."""

import copy
from collections import Counter

import pytest
import torch

from mmiformer.models import IFormer, export_form

from ..helpers import SHALLOW, TINY, randomize, relative_error
from ..left_out import needs_extra

OPTIONS = [
    dict(),
    dict(num_chunks=1),
    dict(num_chunks=5),
    dict(by_slices=True),
    dict(num_chunks=1, by_slices=True),
    dict(fused_attention=True),
]


def network(arch=TINY, **options) -> IFormer:
    return randomize(IFormer(arch, window_size=4, **options)).double().eval()


def operators(form: torch.nn.Module, x: torch.Tensor) -> tuple[Counter, torch.export.ExportedProgram]:
    needs_extra('exports')
    program = torch.export.export(form, (x,)).run_decompositions({})
    nodes = [node for node in program.graph.nodes if node.op == 'call_function']
    assert all(node.meta['val'].dim() <= 4 for node in nodes if isinstance(node.meta['val'], torch.Tensor))
    return Counter(str(node.target).removeprefix('aten.').split('.')[0] for node in nodes), program


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize(
    'kwargs',
    [
        dict(),
        dict(modulation='context', window_layout='paper'),
        dict(layer_scale_init_value=0.3, act_cfg=dict(type='ReLU')),
        dict(out_indices=(0, 2)),
    ],
)
@torch.no_grad()
def test_outputs_are_exactly_those_of_the_network(kwargs, options):
    backbone = network(**kwargs)
    form = export_form(backbone, **options)
    assert form.out_indices == backbone.out_indices and form.feature_info == backbone.feature_info
    for size in ((150, 90), (128, 128)):
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        outputs, expected = form(x), backbone(x)
        assert len(outputs) == len(expected)
        assert all(relative_error(*pair) < 1e-12 for pair in zip(outputs, expected, strict=True))


@torch.no_grad()
def test_the_network_is_left_as_it_is():
    backbone = network()
    before = copy.deepcopy(backbone.state_dict())
    form = export_form(backbone)
    for parameter in form.parameters():
        assert not parameter.requires_grad
        parameter.zero_()
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())
    assert backbone(torch.randn(1, 3, 64, 64, dtype=torch.float64))[0].abs().max() > 0


@torch.no_grad()
def test_chunks_and_slices_are_what_is_asked_for():
    x = torch.randn(1, 3, 128, 128, dtype=torch.float64)  # stage 3: 8 x 8, four windows
    backbone = network(num_chunks=6)
    plain, _ = operators(export_form(backbone, num_chunks=1), x)
    chunked, program = operators(export_form(backbone), x)
    slices, _ = operators(export_form(backbone, num_chunks=1, by_slices=True), x)
    attentions = 5
    assert plain['view'] + plain['_unsafe_view'] == 2 * attentions + 4  # flat and back; cut and join
    assert chunked['view'] - plain['view'] == 5 * 4 - (chunked['_unsafe_view'] - plain['_unsafe_view'])
    assert slices['view'] + slices['_unsafe_view'] == 2 * attentions
    assert chunked['cat'] == 2 and plain['cat'] == 0 and slices['cat'] == 4
    assert chunked['bmm'] == plain['bmm'] == 2 * attentions
    for output, expected in zip(program.module()(x), backbone(x), strict=True):
        assert relative_error(output, expected) < 1e-12


@pytest.mark.parametrize('size', [(128, 128), (150, 90)])
@torch.no_grad()
def test_no_operator_only_copies_and_no_output_is_a_view(size):
    counts, program = operators(export_form(network()), torch.randn(1, 3, *size, dtype=torch.float64))
    assert not counts.keys() & {'alias', 'detach', '_to_copy', 'contiguous', 'lift_fresh_copy', '_native_batch_norm'}
    if size == (128, 128):
        assert not counts.keys() & {'slice', 'constant_pad_nd', 'pad'}
    outputs = next(node for node in program.graph.nodes if node.op == 'output').args[0]
    assert len(outputs) == 4 and {str(node.target) for node in outputs} == {'aten.add.Tensor'}


def test_batches_of_any_size():
    needs_extra('exports')
    backbone, batch = network(SHALLOW), torch.export.Dim('batch', min=1, max=64)
    x = torch.randn(2, 3, 128, 128, dtype=torch.float64)
    program = torch.export.export(export_form(backbone), (x,), dynamic_shapes=({0: batch},))
    x = torch.randn(5, 3, 128, 128, dtype=torch.float64)
    assert all(relative_error(*pair) < 1e-12 for pair in zip(program.module()(x), backbone(x), strict=True))


def test_what_has_no_export_form():
    deployed = network()
    deployed.switch_to_deploy()
    with pytest.raises(ValueError, match='before switch_to_deploy'):
        export_form(deployed)
    with pytest.raises(ValueError, match=r'stem\.0 cannot be folded'):
        export_form(IFormer(TINY, norm_cfg=dict(type='GN', num_groups=4)))
