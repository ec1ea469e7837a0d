"""Windows against explicit loops."""

import pytest
import torch

from mmiformer.models.windows import partition, reverse


def by_loops(x, side):
    return torch.stack(
        [
            x[image, :, row : row + side, column : column + side]
            for image in range(x.shape[0])
            for row in range(0, x.shape[2], side)
            for column in range(0, x.shape[3], side)
        ]
    )


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('num_chunks', [1, 3, 16, 100])
def test_partition_takes_each_window_row_by_row(num_chunks, memory_format):
    x = torch.randn(2, 5, 6, 9).to(memory_format=memory_format)
    assert torch.equal(partition(x, 3, num_chunks), by_loops(x, 3))


@pytest.mark.parametrize('num_chunks', [1, 3])
def test_by_slices_the_windows_of_one_map_are_the_same(num_chunks):
    x = torch.randn(1, 5, 6, 9)
    assert torch.equal(partition(x, 3, num_chunks, by_slices=True), by_loops(x, 3))


@pytest.mark.parametrize('by_slices', [False, True])
@pytest.mark.parametrize('size', [(8, 12), (4, 4), (5, 9), (3, 2), (8, 5)])
@pytest.mark.parametrize('num_chunks', [1, 4, 7])
def test_reverse_undoes_partition(num_chunks, size, by_slices):
    x = torch.randn(2, 10, *size)
    windows = partition(x, 4, num_chunks, by_slices)
    assert windows.shape == (2 * -(-size[0] // 4) * -(-size[1] // 4), 10, 4, 4)
    assert torch.equal(reverse(windows, *size, num_chunks, by_slices), x)


@pytest.mark.parametrize('by_slices', [False, True])
@pytest.mark.parametrize('size', [(5, 9), (3, 2), (8, 5)])
def test_padding_is_zeros_at_the_right_and_the_bottom(size, by_slices):
    x = torch.rand(1, 3, *size) + 1
    padded = torch.zeros(1, 3, -(-size[0] // 4) * 4, -(-size[1] // 4) * 4)
    padded[..., : size[0], : size[1]] = x
    assert torch.equal(partition(x, 4, 1, by_slices), by_loops(padded, 4))
