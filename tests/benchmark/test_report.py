"""Tables, picture and Pareto front on made-up rows."""

import itertools
import random

import pytest
from matplotlib.image import imread

from mmiformer.benchmark.forms import parse
from mmiformer.benchmark.report import draw, page, pareto_front, table
from mmiformer.benchmark.run import Row
from mmiformer.benchmark.timing import spread


def row(name: str, seconds: float, side: int = 512, **changes) -> Row:
    contestant = parse(name)
    values = dict(
        name=name,
        label=contestant.label,
        height=side,
        width=side,
        batch=1,
        dtype='float32',
        parameters=8_521_656,
        macs=8_690_000_000,
        difference=0.0,
        seconds=[seconds],
        time=spread([seconds]),
        ratio=spread([seconds / 0.4]),
        growth=spread([seconds / 0.3]),
        of_matmul_peak=0.25,
        peak_memory=None,
        memory_growth=None,
        kept=None,
        published=contestant.published,
    )
    return Row(**{**values, **changes})


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line[0] == '|']


def test_pareto_front():
    points = [(3, 9), (1, 5), (2, 4), (2, 7), (4, 9), (1, 5), (0.5, 1)]
    assert [points[index] for index in pareto_front(points)] == [(0.5, 1), (1, 5), (1, 5), (2, 7), (3, 9)]
    assert pareto_front([]) == []

    generator = random.Random(0)
    for _ in range(50):
        points = [(generator.randint(0, 9), generator.randint(0, 9)) for _ in range(12)]
        beaten = {b for a, b in itertools.product(points, points) if a != b and a[0] <= b[0] and a[1] >= b[1]}
        assert {points[index] for index in pareto_front(points)} == set(points) - beaten


def test_table():
    rows = [row('m:reference', 0.4), row('t', 0.1, difference=3.2e-7)]
    header, _, first, second = cells(table(rows, 'm:reference'))
    by_name = dict(zip(header, second, strict=True))
    assert by_name['network'] == 't' and by_name['images'] == '1 x 512 x 512' and by_name['params (M)'] == '8.52'
    assert by_name['ms (quartiles)'] == '100.0 (100.0 to 100.0)' and by_name['GMACs'] == '8.69'
    assert by_name['time / m:reference'] == '0.250 (0.250 to 0.250)' and by_name['difference'] == '3.2e-07'
    assert by_name['% of matmul peak'] == '25' and by_name['box AP'] == '-'
    assert dict(zip(header, first, strict=True))['box AP'] == '40.8'
    assert 'peak MiB' not in header and 'time / at first size' not in header  # nothing was measured
    with_memory = cells(table([row('m', 0.4, peak_memory=3 * 2**20, kept=2**19)], 'm:reference'))
    assert dict(zip(with_memory[0], with_memory[2], strict=True))['peak MiB'] == '3.0'


def test_growth_is_shown_for_several_sizes():
    rows = [row('m', 0.3), row('m', 1.2, side=1024, memory_growth=3.9)]
    header, _, first, second = cells(table(rows, 'm'))
    found = dict(zip(header, second, strict=True))
    assert found['images'] == '1 x 1024 x 1024' and found['time / at first size'] == '4.00 (4.00 to 4.00)'
    assert found['peak / at first size'] == '3.90'
    assert dict(zip(header, first, strict=True))['peak / at first size'] == '-'


def test_page_names_forms_that_are_not_equal():
    known = dict(device='a machine', threads=1, torch='2', date='today', command='it', what='infer', rounds=1)
    peaks = {'float32': 36e9}

    def text(*rows: Row) -> str:
        return page(rows, peaks, dict(known, baseline='m'))

    good = text(row('m', 1.0, difference=9e-6), row('m:bf16', 1.0, difference=0.01, dtype='bfloat16'))
    assert 'further than' not in good and 'a machine, 1 threads' in good and '36.0 GMAC/s in float32' in good
    for difference in (2e-5, float('nan')):
        assert 'from the plain network: m:deploy.' in text(row('m:deploy', 1.0, difference=difference), row('m', 1.0))


def test_picture(tmp_path):
    rows = [row('m', 0.3), row('l', 0.5), row('t', 0.2), row('efficientnet_b0', 0.4)]
    assert draw(rows, tmp_path / 'two.png')
    assert draw([row('m', 0.3), row('efficientnet_b0', 0.4)], tmp_path / 'one.png')  # which has no mIoU
    two, one = imread(tmp_path / 'two.png'), imread(tmp_path / 'one.png')
    assert two.shape[1] == pytest.approx(2 * one.shape[1], rel=0.01) and two.std() > 0.05
    assert not draw([row('m', 0.3), row('t', 0.2)], tmp_path / 'none.png')  # one published result is no comparison
    assert not (tmp_path / 'none.png').exists()
