"""The counts of the paper's ablations beside those that it prints."""

from __future__ import annotations

import json
from functools import cache
from typing import NamedTuple

import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .. import paper
from ..hub import get_config
from ..models.blocks import ConvBN
from .complexity import Count, count


class Table(NamedTuple):
    """A table or figure of the paper.

    Attributes:
        rows: What it prints.
        configs: The config of each row, in `configs/ablation/`.
        digits: Digits of the GMACs.
        size: Side of the image in pixels.
    """

    rows: dict[str, paper.Ablation]
    configs: tuple[str, ...]
    digits: int = 2
    size: int = 224


TABLES = {
    'Figure 2': Table(
        paper.FIGURE_2,
        (
            'figure2_01_convnext',
            'figure2_02_early_convolutions',
            'figure2_03_batch_norm',
            'figure2_04_deeper',
            'figure2_05_stage_ratio',
            'figure2_06_kernel_size',
            'figure2_07_mha',
            'figure2_08_sha',
            'figure2_09_shma',
            'figure2_10_width',
            'figure2_11_iformer_m',
        ),
    ),
    'Table 1': Table(paper.TABLE_1, ('table1_mha', 'table1_sha')),
    'Table 2': Table(paper.TABLE_2, ('table2_kernel3', 'table2_kernel7')),
    'Table 6': Table(paper.TABLE_6, ('table6_silu_post_bn', 'table6_silu_pre_ln', 'table6_sigmoid_post_bn')),
    'Table 7': Table(
        paper.TABLE_7,
        (
            'table7_baseline',
            'table7_sha_22',
            'table7_shma_22',
            'table7_sha_50',
            'table7_shma_50',
            'table7_sha_78',
            'table7_shma_78',
            'table7_sha_100',
            'table7_shma_100',
            'table7_shma_50_and_stage4',
        ),
        digits=3,
    ),
    'Table 10': Table(
        paper.TABLE_10, ('table10_baseline', 'table10_blocks', 'table10_ffn_width', 'table10_head_and_ffn_width')
    ),
    'Table 11': Table(paper.TABLE_11, ('table11_with', 'table11_without')),
    'Table 14': Table(paper.TABLE_14, ('table14_sha', 'table14_split', 'table14_quarter', 'table14_concat'), digits=3),
    'Table 16': Table(
        {name: paper.Ablation(paper.TABLE_17[name, 512]) for name in ('SHMA', 'Hybrid SHMA', 'CC Hybrid SHMA')},
        ('table16_shma', 'table16_hybrid', 'table16_chunk_hybrid'),
        size=512,
    ),
}

# {(table, row, figure that differs): its note in docs/ablation.md}
NOTES = {
    ('Table 6', 'SiLU + Post-BN', 'gmacs'): 'a',
    ('Table 6', 'Sigmoid + Post-BN', 'gmacs'): 'a',
    ('Table 11', 'w/o.', 'gmacs'): 'a',
    ('Table 7', '100% as SHMA and 100% in Stage 4', 'params'): 'b',
    ('Table 10', 'Baseline', 'params'): 'b',
    ('Table 14', 'SHA Baseline without Modulation', 'gmacs'): 'c',
    ('Table 14', '+ split', 'gmacs'): 'c',
    ('Table 7', '50% as SHMA', 'gmacs'): 'd',
    ('Table 7', '78% as SHMA', 'gmacs'): 'e',
}


def folded_parameters(classifier: nn.Module) -> int:
    """Parameters once all batch norms are folded: each Conv-BN has a bias then, and the head's norm is gone."""
    norms = [module.norm for module in classifier.modules() if isinstance(module, ConvBN)]
    scales = sum(norm.num_features for norm in norms if isinstance(norm, _BatchNorm))
    return sum(p.numel() for p in classifier.parameters()) - scales - 2 * classifier.head.norm.num_features


def count_config(name: str, size: int = 224) -> Count:
    """Parameters, batch norms folded, and MACs of a config in `configs/ablation/`, without weights.

    Args:
        name: The config, without `.py`.
        size: Side of the image in pixels.
    """
    return _count(json.dumps(get_config(f'ablation/{name}').model), size)._replace(name=name)


@cache  # many rows are one network
def _count(model: str, size: int) -> Count:
    with torch.device('meta'):
        classifier = MODELS.build(json.loads(model)).eval()
    counted, _ = count('', classifier, classifier, torch.empty(1, 3, size, size, device='meta'))
    return counted._replace(parameters=folded_parameters(classifier))


def table() -> str:
    """All rows in Markdown. Figures of the paper that differ in the digits that it prints are bold, with their note."""
    lines = [
        '| | | config | params (M) | paper | GMACs | paper | iPhone 13 (ms) | top-1 (%) |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for name, (rows, configs, digits, size) in TABLES.items():
        for (row, printed), config in zip(rows.items(), configs, strict=True):
            counted = count_config(config, size)
            cells = [
                name,
                row,
                f'[{config}](../configs/ablation/{config}.py)',
                *_beside(counted.parameters / 1e6, printed.params, 1, NOTES.get((name, row, 'params'))),
                *_beside(counted.macs / 1e9, printed.gmacs, digits, NOTES.get((name, row, 'gmacs'))),
                'failed' if printed.latency == paper.FAILED else f'{printed.latency:.2f}',
                '-' if printed.top1 is None else f'{printed.top1:.1f}',
            ]
            lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def _beside(counted: float, printed: float | None, digits: int, note: str | None) -> tuple[str, str]:
    ours, theirs = f'{counted:.3f}', '-' if printed is None else f'{printed:.{digits}f}'
    return ours, f'**{theirs}** ({note})' if note else theirs
