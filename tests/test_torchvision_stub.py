"""torchvision and what imports it, beside the torch of this environment."""

import subprocess
import sys

from mmiformer.torchvision_stub import declare_operators

from .left_out import needs_extra


def run(code: str) -> str:
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_imports_torchvision_is_imported_after_the_package():
    needs_extra('peers')
    run(
        'import mmiformer, torchvision, timm, mmseg.models\n'
        'from mmengine.utils.dl_utils import collect_env\n'
        'assert collect_env()["TorchVision"] == torchvision.__version__'
    )


def test_does_nothing_without_torchvision():
    code = 'import sys; sys.modules["torchvision"] = None; import mmiformer; print("torch" in sys.modules)'
    assert run(code) == 'False\n'


def test_operators_that_torchvision_brings_are_not_declared_again(monkeypatch):
    needs_extra('peers')
    loaded = []
    monkeypatch.setattr('torch.ops.load_library', loaded.append)
    assert declare_operators.__wrapped__() is None
    assert [path.name for path in loaded] == ['_C.so']
