"""The counts of the ablations against the paper's, and the page that shows them."""

import pytest
import torch

from mmiformer.benchmark.ablation import NOTES, TABLES, count_config, folded_parameters, table
from mmiformer.models import IFormerClassifier

from ..pages import ROOT

ROWS = [
    (name, row, config)
    for name, (rows, configs, _, _) in TABLES.items()
    for row, config in zip(rows, configs, strict=True)
]


def test_every_config_is_a_row():
    files = {path.stem for path in (ROOT / 'configs' / 'ablation').glob('*.py')}
    assert len(ROWS) == len(files) == 41 and {config for *_, config in ROWS} == files
    assert all(config.startswith(name.lower().replace(' ', '')) for name, _, config in ROWS)


def test_counts_are_the_papers():
    """To the last digit that it prints, but for those with a note."""
    differ, compared = set(), 0
    for name, row, config in ROWS:
        printed, counted = TABLES[name].rows[row], count_config(config)
        for figure, ours, digits in (
            ('params', counted.parameters / 1e6, 1),
            ('gmacs', counted.macs / 1e9, TABLES[name].digits),
        ):
            theirs = getattr(printed, figure)
            if theirs is not None:
                compared += 1
                if round(ours, digits) != theirs:
                    differ.add((name, row, figure))
                assert theirs == pytest.approx(ours, rel=0.035)
    assert differ == set(NOTES) and compared == 46


def test_page():
    page = (ROOT / 'docs' / 'ablation.md').read_text()
    assert table() in page
    notes = {line[3] for line in page.splitlines() if line.startswith('- (')}
    assert notes == set(NOTES.values())


def test_folded_parameters():
    """Those of the deploy form, and with them the figures of Table 15 and Table 8."""
    printed = dict(t=(2.9, 1), s=(6.5, 1), m=(8.9, 1), l=(14.7, 1), l2=(24.5, 1), h=(99, 0))
    with torch.device('meta'):
        networks = {arch: IFormerClassifier(arch) for arch in printed}
    for arch, (params, digits) in printed.items():
        assert round(folded_parameters(networks[arch]) / 1e6, digits) == params
    network = IFormerClassifier('t').eval()
    folded = folded_parameters(network)
    network.backbone.switch_to_deploy()
    assert folded == sum(p.numel() for p in network.parameters()) - 2 * network.head.norm.num_features
