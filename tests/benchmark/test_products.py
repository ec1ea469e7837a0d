"""Products of networks whose work can be counted by hand, and the least time of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmiformer.benchmark.peak import copy_peak, matmul_peak
from mmiformer.benchmark.products import Product, products, roofline, with_backward
from mmiformer.benchmark.reference import Reference
from mmiformer.complexity import count
from mmiformer.models import IFormer


@torch.no_grad()
def test_known_products():
    conv, grouped = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)
    linear = nn.Linear(8, 4, bias=False)
    image = torch.rand(2, 3, 10, 12)
    found = products(lambda: linear(grouped(conv(image).relu()).flatten(2).transpose(1, 2)))
    pixels = 2 * 10 * 12
    assert found == [
        Product(pixels * 8 * 3 * 9, pixels * 3 + 8 * 3 * 9 + 8 + pixels * 8),
        Product(pixels * 8 * 25, pixels * 8 + 8 * 25 + pixels * 8),
        Product(pixels * 8 * 4, pixels * 8 + 8 * 4 + pixels * 4),
    ]
    assert with_backward(found) == [*found, *found, *found[1:]]


@torch.no_grad()
def test_fused_attention_is_two_products():
    q, k, v = (torch.rand(1, 2, tokens, 16) for tokens in (30, 40, 40))
    found = products(lambda: F.scaled_dot_product_attention(q, k, v))
    assert [product.macs for product in found] == [2 * 30 * 40 * 16] * 2


def test_backward_of_what_torch_counts_right():
    """Against torch's count of a backward pass, which is right where nothing is grouped."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 16, 3, 2, 1), nn.GELU(), nn.Conv2d(16, 4, 1)
    )
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        forward = products(lambda: model(image))
    both = products(lambda: model(image).mean().backward())
    assert sum(p.macs for p in with_backward(forward)) == sum(p.macs for p in both)


@torch.no_grad()
def test_same_count_as_of_the_plain_network():
    network, image = IFormer('t').eval(), torch.zeros(1, 3, 96, 64)
    found = sum(product.macs for product in products(lambda: Reference(network, folded=True)(image)))
    assert found == count('t', network, network, image)[0].macs > 1e8


def test_roofline():
    work = [Product(macs=1000, numbers=10), Product(macs=10, numbers=1000)]
    # the first is bound by its 1000 MACs at 100/s, the second by its 4000 bytes at 200/s
    assert roofline(work, macs_per_second=100, bytes_per_second=200, itemsize=4) == 10 + 20


def test_peaks_are_those_of_the_best():
    device = torch.device('cpu')
    small = matmul_peak(device, torch.float32, [(8, 8, 8)], repeats=2)
    both = matmul_peak(device, torch.float32, [(8, 8, 8), (256, 256, 256)], repeats=2)
    assert both > 5 * small > 0  # a product of eight is all overhead
    assert copy_peak(device, 2**20, repeats=2) > 1e6
    with pytest.raises(RuntimeError):
        matmul_peak(device, torch.float32, [(8, 8, -8)])
