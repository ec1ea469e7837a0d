"""Steps take turns, and figures are medians of what one round has to say."""

import pytest
import torch

from mmiformer.benchmark.timing import interleave, matmul_peak, ratio, spread, stopwatch


def test_every_step_has_its_turn_in_each_round_in_changing_order():
    ran = []
    clock = iter(range(1000))

    def seconds(step) -> float:
        step()
        return next(clock)

    steps = [lambda name=name: ran.append(name) for name in 'abc']
    measured = interleave(steps, rounds=20, warmup=2, seconds=seconds)
    assert ran[::2] == ran[1::2]  # twice, of which the second is timed
    ran = ran[::2]
    rounds = [''.join(ran[start : start + 3]) for start in range(0, len(ran), 3)]
    assert len(rounds) == 22 and {''.join(sorted(names)) for names in rounds} == {'abc'}
    assert len(set(rounds)) > 3
    # the time of each is its own, and those of warming up are not in
    for name, own in zip('abc', measured, strict=True):
        assert own == [index for index, other in enumerate(ran) if other == name and index >= 6]


def test_slowdowns_cancel_in_ratios():
    machine = [1, 1, 5, 1, 3]  # the second half of each step's rounds is on a busy machine
    fast, slow = [2.0 * factor for factor in machine], [3.0 * factor for factor in machine]
    assert ratio(slow, fast) == pytest.approx((1.5, 1.5, 1.5))
    assert spread(fast) == (2, 2, 6)
    assert spread([4.0]) == (4, 4, 4)


def test_stopwatch_takes_the_time_of_the_step():
    def step():
        torch.randn(400, 400) @ torch.randn(400, 400)

    seconds = stopwatch(torch.device('cpu'))
    few, many = (
        min(seconds(step) for _ in range(5)),
        min(seconds(lambda: [step() for _ in range(10)]) for _ in range(5)),
    )
    assert 0 < 4 * few < many


def test_peak_is_that_of_the_best():
    device = torch.device('cpu')
    small = matmul_peak(device, torch.float32, [(8, 8, 8)], repeats=2)
    both = matmul_peak(device, torch.float32, [(8, 8, 8), (256, 256, 256)], repeats=2)
    assert both > 5 * small > 0  # a product of eight is all overhead
    with pytest.raises(RuntimeError):
        matmul_peak(device, torch.float32, [(8, 8, -8)])
