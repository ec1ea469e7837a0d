"""Memory of steps whose need is known."""

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from mmiformer.benchmark.memory import kept_for_backward

MEASURE = """
import torch
from mmiformer.benchmark.memory import peak_memory

def two_of_three():
    a = torch.ones(5 * 2**18)
    b = a + 1  # 5 + 5 MiB
    del a, b
    return torch.ones(8 * 2**18)

for step in (lambda: torch.ones(20 * 2**18), two_of_three, lambda: None):
    peak = peak_memory(step, torch.device('cpu'))
    print(peak if peak is None else peak / 2**20)
"""


def test_peak_is_what_is_in_use_at_once():
    # in a process of its own: it stays slower afterwards
    done = subprocess.run([sys.executable, '-c', MEASURE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if not Path('/proc/self/clear_refs').exists():  # not Linux, or a sandbox
        assert done.stdout.split() == ['None'] * 3
        return
    large, two, nothing = map(float, done.stdout.split())
    assert 19.5 < large < 21.5 and 9.5 < two < 11.5 and abs(nothing) < 1


def test_kept_of_a_known_graph():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8).eval()
    image = torch.rand(2, 4, 6, 6)
    weights = [*conv.parameters(), *norm.parameters(), *norm.buffers()]
    written, read = 4 * 2 * 8 * 36, 4 * 2 * 4 * 36  # bytes of the maps of 8 and of 4 channels
    # the convolution keeps what it reads, batch norm and GELU as well, ReLU what it writes
    assert kept_for_backward(lambda: conv(image), weights) == read
    with torch.no_grad():
        tiny = kept_for_backward(lambda: norm(conv(image)), weights) - read - written
    assert 0 <= tiny <= 2 * 4 * 8  # statistics of each channel, at most
    assert kept_for_backward(lambda: torch.nn.functional.gelu(conv(image)), weights) == read + written


def test_what_is_kept_twice_counts_once():
    x = torch.rand(100, requires_grad=True)
    y = torch.rand(100)

    def forward():
        half = y[:50]
        return (x * y).sum() + (x[:50] * half).sum() + (x * x).sum()

    assert kept_for_backward(forward, [x]) == 4 * 100  # y alone: x is a weight
    assert kept_for_backward(forward, []) == 2 * 4 * 100
