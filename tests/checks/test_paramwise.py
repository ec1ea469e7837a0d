"""Keys of paramwise_cfg that MMEngine passes over in silence."""

import inspect

import pytest
from mmengine.config import Config
from mmengine.optim import DefaultOptimWrapperConstructor

from mmiformer.checks.paramwise import FACTORS, SETTINGS, check_paramwise


def found(**wrapper) -> list[tuple[str, str, str]]:
    findings = check_paramwise(Config(dict(optim_wrapper=wrapper)))
    return [
        (finding.level, finding.where.removeprefix('optim_wrapper.paramwise_cfg.'), finding.fix) for finding in findings
    ]


def test_mmengine_reads_them():
    source = inspect.getsource(DefaultOptimWrapperConstructor)
    assert all(f"'{key}'" in source for key in SETTINGS + FACTORS)


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        (dict(norm_decay_mult=0, bypass_duplicate=True, custom_keys=dict(head=dict(lr_mult=10.0))), []),
        (dict(norm_decay_mlt=0), [('error', 'norm_decay_mlt', 'Did you mean norm_decay_mult?')]),
        (dict(custom_keys=dict(head=dict(lr_mul=1))), [('error', 'custom_keys.head.lr_mul', 'Did you mean lr_mult?')]),
        (
            dict(custom_keys=dict(x=dict(wd_mult=0))),
            [('warning', 'custom_keys.x.wd_mult', 'It reads lr_mult, decay_mult.')],
        ),
        (dict(bias_lr_mult='x'), [('error', 'bias_lr_mult', '')]),
    ],
)
def test_settings(settings, expected):
    assert found(paramwise_cfg=settings) == expected
    assert found(paramwise_cfg=settings, constructor='LearningRateDecayOptimizerConstructor') == []
