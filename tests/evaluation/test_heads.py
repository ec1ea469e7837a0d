"""The similarity of heads, and the networks in which it finds them."""

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import nn

from mmiformer import get_config
from mmiformer.evaluation.heads import draw_similarity, head_similarity, similarity
from mmiformer.models import EfficientFormer, IFormer


def test_similarity_pair_by_pair():
    attention = torch.rand(2, 3, 5, 7).softmax(-1)
    pairs = [
        F.cosine_similarity(attention[:, i].flatten(1), attention[:, j].flatten(1))
        for i, j in combinations(range(3), 2)
    ]
    torch.testing.assert_close(similarity(attention), torch.stack(pairs).mean(0).double(), rtol=1e-5, atol=1e-6)


def test_extremes():
    same = torch.rand(1, 1, 6, 6).expand(1, 4, 6, 6)
    assert similarity(same).item() == pytest.approx(1)
    apart = torch.eye(4).reshape(1, 4, 1, 4)  # each head looks elsewhere
    assert similarity(apart).item() == pytest.approx(0, abs=1e-12)


class Fused(nn.Module):
    """Attention by torch's operator."""

    def __init__(self, mask=None, scale=None):
        super().__init__()
        self.mask, self.scale = mask, scale

    def forward(self, x):
        return F.scaled_dot_product_attention(x, x.flip(2), x, attn_mask=self.mask, scale=self.scale)


@pytest.mark.parametrize(('mask', 'scale'), [(None, None), (torch.eye(5).bool(), None), (torch.randn(5, 5), 3.0)])
def test_fused_attention(mask, scale):
    """Its values are the identity, so that it returns its weights."""
    x = torch.randn(2, 3, 5, 5)
    identity = torch.eye(5).expand(2, 3, 5, 5)
    weights = F.scaled_dot_product_attention(x, x.flip(2), identity, attn_mask=mask, scale=scale)
    (found,) = head_similarity(Fused(mask, scale), x)
    torch.testing.assert_close(found, similarity(weights), rtol=1e-5, atol=1e-6)


def test_layers_that_are_found():
    image = torch.randn(2, 3, 64, 64)
    network = MODELS.build(get_config('ablation/table1_mha').model).eval()
    layers = head_similarity(network, image)
    assert [tuple(layer.shape) for layer in layers] == [(2,)] * 6
    assert all(((0 < layer) & (layer <= 1)).all() for layer in layers)
    assert len(head_similarity(EfficientFormer('l1').eval(), image)) == 1
    assert head_similarity(IFormer('t').eval(), image) == []


def test_swin():
    """Whose attention is a layer `nn.Softmax` on windows of 7x7, in stages of 2, 2, 6 and 2 blocks."""
    network = MODELS.build(get_config('mask_rcnn/swin_t_1x').model.backbone | dict(_scope_='mmdet', init_cfg=None))
    network.eval()
    layers = head_similarity(network, torch.randn(1, 3, 64, 64))
    assert [len(layer) for layer in layers] == [9, 9, 4, 4, *[1] * 8]


def test_picture():
    layers = [torch.tensor([0.2, 0.4]), torch.tensor([0.7, 0.9])]
    (axes,) = draw_similarity(layers, 'title').axes
    assert axes.lines[-1].get_ydata() == pytest.approx([0.3, 0.8])
