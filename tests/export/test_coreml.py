"""Core ML's packages, opened again and run by an interpreter, against the network in torch."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from mmiformer.errors import UserError
from mmiformer.export import find_runtime, network_of, write
from mmiformer.models import IFormer, IFormerClassifier

from ..helpers import SHALLOW, randomize, relative_error
from ..left_out import needs_extra

needs_extra('exports')
from mmiformer.export.interpreter import Program  # noqa: E402

SIZE = (72, 104)


def saved(tmp_path, model, precision, what='backbone', image=False, ios=16, **options):
    runtime = find_runtime('coreml')
    runtime.ios = ios
    path = tmp_path / 'network.mlpackage'
    network = network_of(model, what, image, dict(weights='random'), **{**runtime.form, **options})
    write(runtime, network, torch.zeros(1, 3, *SIZE), path, precision)
    program = Program(path)
    assert program.spec.description.metadata.userDefined['weights'] == 'random'
    assert tuple(output.name for output in program.spec.description.output) == network.outputs
    assert max(len(one.shape) for operation in program.operations() for one in operation.outputs) <= 4
    kinds = Counter(operation.op_type for operation in program.operations())
    assert {kind: n for kind, n in kinds.items() if kind != 'const'} == runtime.operators(path)
    return program, kinds


def check(outputs, expected, bound):
    for output, wanted in zip(outputs, expected, strict=True):
        assert relative_error(output, wanted) < bound


@pytest.fixture(scope='module')
def backbone() -> IFormer:
    return randomize(IFormer(SHALLOW, window_size=4, num_chunks=4)).eval()


@torch.no_grad()
def test_image_is_normalized_exactly(tmp_path, backbone):
    program, kinds = saved(tmp_path, backbone, 'fp32', image=True, num_chunks=4)
    [entry] = program.spec.description.input
    assert (entry.type.imageType.height, entry.type.imageType.width) == SIZE
    pixels = torch.randint(0, 256, (1, 3, *SIZE)).float()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    check(program(pixels), backbone((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)), 1e-5)


@pytest.mark.parametrize('options', [dict(num_chunks=1, by_slices=True), dict(fused_attention=True, ios=18)])
@torch.no_grad()
def test_leanest_form_and_fused_attention(tmp_path, backbone, options):
    program, kinds = saved(tmp_path, backbone, 'fp32', **options)
    if 'ios' in options:
        assert kinds['scaled_dot_product_attention'] == 3 and kinds['softmax'] == 0
    else:
        assert kinds['transpose'] == 0 and kinds['reshape'] == 2 * 3  # flat and back, for each attention
    x = torch.randn(1, 3, *SIZE)
    check(program(x), backbone(x), 1e-5)


@torch.no_grad()
def test_classifier_with_weights_in_int8(tmp_path):
    classifier = randomize(IFormerClassifier(SHALLOW, num_classes=100)).eval()
    program, kinds = saved(tmp_path, classifier, 'int8', 'classifier')
    assert kinds['constexpr_affine_dequantize'] > 0
    x = torch.randn(1, 3, *SIZE)
    [logits] = program(x)
    assert 1e-5 < relative_error(logits, classifier(x)) < 0.05


def test_it_runs_on_a_mac_alone(monkeypatch, tmp_path):
    monkeypatch.setattr('platform.system', lambda: 'Linux')
    with pytest.raises(UserError, match='only a Mac'):
        find_runtime('coreml').load(tmp_path, 'fp32')
