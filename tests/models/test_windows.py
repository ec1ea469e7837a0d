"""Windows against explicit loops."""

import pytest
import torch

from mmiformer.models.windows import partition, reverse, run_on_windows


@pytest.mark.parametrize('num_chunks', [1, 3, 16, 100])
def test_partition_takes_each_window_row_by_row(num_chunks):
    x = torch.randn(2, 5, 6, 9)
    windows = partition(x, 3, num_chunks)
    expected = [
        x[image, :, row : row + 3, column : column + 3]
        for image in range(2)
        for row in range(0, 6, 3)
        for column in range(0, 9, 3)
    ]
    assert torch.equal(windows, torch.stack(expected))


@pytest.mark.parametrize('num_chunks', [1, 4, 7])
def test_reverse_undoes_partition(num_chunks):
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
