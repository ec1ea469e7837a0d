"""What docs/paper_vs_release.md says of the options that are the paper's."""

import re
from pathlib import Path

import pytest
import torch

from mmiformer.models import IFormer

from ..parity import image, released_state_dict

DOCS = Path(__file__).resolve().parents[2] / 'docs' / 'paper_vs_release.md'


@torch.no_grad()
def outputs(**options) -> tuple[torch.Tensor, ...]:
    backbone = IFormer('m', **options).eval()
    backbone.load_state_dict(released_state_dict('dense_m'))
    return backbone(image(512, 512))


def documented(option: str) -> list[float]:
    """The change in percent of stages 3 and 4 of M at 512 x 512, in the table of the docs."""
    row = re.search(rf'^\| `{re.escape(option)}`(?:, 512 x 512)? \|(.*)\|$', DOCS.read_text(), re.MULTILINE).group(1)
    return [float(value) for value in row.split('|')[2].split('/')]


def test_changes_of_the_outputs_are_as_documented():
    released = outputs()
    for option in ("window_layout='paper'", "modulation='context'", 'window_size=None'):
        name, value = option.split('=')
        changed = outputs(**{name: None if value == 'None' else value.strip("'")})
        changes = [100 * ((a - b).norm() / b.norm()).item() for a, b in zip(changed, released, strict=True)]
        assert changes[:2] == [0, 0]
        assert changes[2:] == pytest.approx(documented(option), abs=0.06)
    assert documented('num_chunks=1') == [0]
    assert all(torch.equal(a, b) for a, b in zip(outputs(num_chunks=1), released, strict=True))
