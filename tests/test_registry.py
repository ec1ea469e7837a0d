"""The plugin in a fresh interpreter: nothing of it is imported before a config names it."""

import runpy
import subprocess
import sys

import pytest

import mmiformer

BUILD = """
import sys
from mmengine.registry import MODELS as root
assert 'mmiformer' not in sys.modules
backbone = root.build(dict(type='mmiformer.IFormer', arch='t'))
assert type(backbone).__name__ == 'IFormer'
assert not {'mmcv.ops', 'mmcv._ext', 'mmdet', 'mmseg', 'torchvision'} & set(sys.modules)
"""
BUILD_IN_TOOLBOX = """
import sys
# As without the extras `peers` and `imagenet`, whose torchvision the toolboxes cannot import before mmiformer.
sys.modules.update(timm=None, mmpretrain=None)
from mmengine.registry import init_default_scope
from TOOLBOX.registry import MODELS
assert 'mmiformer' not in sys.modules
init_default_scope('TOOLBOX')
backbone = MODELS.build(dict(type='mmiformer.IFormer', arch='t'))
assert type(backbone).__name__ == 'IFormer'
"""
EVALUATE_IN_TOOLBOX = """
from mmengine.registry import init_default_scope
from TOOLBOX.registry import HOOKS, METRICS
init_default_scope('TOOLBOX')
metric = METRICS.build(dict(type='mmiformer.ClassIoU', iou_metrics=['mIoU']))
assert type(metric).__mro__[1].__name__ == 'IoUMetric' and metric.metrics == ['mIoU']
hook = HOOKS.build(dict(type='mmiformer.ValidationPictures', number=2))
assert (type(hook).__name__, hook.number) == ('ValidationPictures', 2)
"""
WITHOUT_MMSEG = """
import sys
sys.modules['mmseg'] = None
from mmdet.registry import METRICS
assert METRICS.get('mmiformer.ClassIoU')
try:
    METRICS.build(dict(type='mmiformer.ClassIoU'))
except ImportError as error:
    assert 'mmseg' in str(error)
else:
    raise AssertionError('built without mmseg')
"""
TOOLBOXES = ('mmdet', 'mmseg')


@pytest.mark.parametrize(
    'code',
    [
        BUILD,
        *(
            code.replace('TOOLBOX', toolbox)
            for code in (BUILD_IN_TOOLBOX, EVALUATE_IN_TOOLBOX)
            for toolbox in TOOLBOXES
        ),
        WITHOUT_MMSEG,
    ],
    ids=['mmengine', 'mmdet', 'mmseg', 'evaluation in mmdet', 'evaluation in mmseg', 'without mmseg'],
)
def test_builds_by_its_name_without_custom_imports(code):
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_import_without_mmengine_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmengine', None)  # as if it were not installed
    with pytest.raises(ImportError, match=r'\[onedl\].*\[openmmlab\]'):
        runpy.run_path(mmiformer.__file__)


def test_without_timm_all_else_works():
    code = (
        "import sys; sys.modules['timm'] = None\n"
        'from mmiformer.models import EfficientMod, IFormer, TimmBackbone\n'
        "EfficientMod(), IFormer('t'), TimmBackbone('repvit_m1_1')"
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith('ImportError: the networks of other papers come from timm')
    assert last.endswith('pip install ".[peers]"')
