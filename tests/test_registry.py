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
sys.modules['timm'] = None  # as without the extra `peers`, whose torchvision mmseg cannot import before mmiformer
from mmengine.registry import init_default_scope
from TOOLBOX.registry import MODELS
assert 'mmiformer' not in sys.modules
init_default_scope('TOOLBOX')
backbone = MODELS.build(dict(type='mmiformer.IFormer', arch='t'))
assert type(backbone).__name__ == 'IFormer'
"""


@pytest.mark.parametrize(
    'code',
    [BUILD, *(BUILD_IN_TOOLBOX.replace('TOOLBOX', toolbox) for toolbox in ('mmdet', 'mmseg'))],
    ids=['mmengine', 'mmdet', 'mmseg'],
)
def test_builds_by_its_name_without_custom_imports(code):
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_import_without_mmengine_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmengine', None)  # as if it were not installed
    with pytest.raises(ImportError, match=r'\[onedl\].*\[openmmlab\]'):
        runpy.run_path(mmiformer.__file__)
