"""Windows against explicit loops."""

import pytest
import torch

from mmiformer.models import windows as windows_module
from mmiformer.models.windows import partition, reverse, run_on_windows


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('num_chunks', [1, 3, 16, 100])
def test_partition_takes_each_window_row_by_row(num_chunks, memory_format, monkeypatch):
    monkeypatch.setattr(windows_module, 'exporting', lambda: True)  # else there are no chunks
    x = torch.randn(2, 5, 6, 9).to(memory_format=memory_format)
    windows = partition(x, 3, num_chunks)
    expected = [
        x[image, :, row : row + 3, column : column + 3]
        for image in range(2)
        for row in range(0, 6, 3)
        for column in range(0, 9, 3)
    ]
    assert torch.equal(windows, torch.stack(expected))


@pytest.mark.parametrize('num_chunks', [1, 4, 7])
def test_reverse_undoes_partition(num_chunks, monkeypatch):
    monkeypatch.setattr(windows_module, 'exporting', lambda: True)
    x = torch.randn(2, 10, 8, 12)
    assert torch.equal(reverse(partition(x, 4, num_chunks), 8, 12, num_chunks), x)


@pytest.mark.parametrize('size', [(4, 4), (5, 9), (3, 2), (8, 4)])
def test_run_on_windows_pads_with_zeros_at_the_right_and_the_bottom(size):
    x = torch.rand(2, 3, *size) + 1
    seen = []

    def run(windows):
        seen.append(windows)
        return 2 * windows

    assert torch.equal(run_on_windows(run, x, 4), 2 * x)
    (windows,) = seen
    rows, columns = -(-size[0] // 4), -(-size[1] // 4)
    assert windows.shape == (2 * rows * columns, 3, 4, 4)
    joined = reverse(windows, 4 * rows, 4 * columns)
    assert torch.equal(joined[..., : size[0], : size[1]], x)
    assert (joined != 0).sum() == x.numel()  # what was added is zero; x has none


def test_chunks_are_in_exported_graphs_alone():
    class Windows(torch.nn.Module):
        def forward(self, x):
            return run_on_windows(torch.nn.Identity(), x, 4, num_chunks=5)

    x = torch.randn(1, 20, 8, 8)
    traced = torch.jit.trace(Windows(), x)
    exported = torch.export.export(Windows(), (x,))
    for graph in (str(traced.inlined_graph), str(exported.graph)):
        assert (
            graph.count('chunk') + graph.count('split') >= 2 and graph.count('aten.cat') + graph.count('aten::cat') == 2
        )
    assert torch.equal(traced(x), x) and torch.equal(exported.module()(x), x)
    with torch.profiler.profile() as profile:
        Windows()(x)
    names = [event.key for event in profile.key_averages()]
    assert 'aten::permute' in names and not {'aten::cat', 'aten::chunk'} & set(names)
