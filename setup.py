"""Packaging for OpenMMLab's `mim`, which looks for configs, tools and model-index.yml in a package's folder `.mim`.

Everything else about the package is in pyproject.toml.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MIM = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Adds `mmiformer/.mim` to what is built. An editable install needs none: there `mim` looks in the checkout."""

    def run(self):
        super().run()
        if not self.editable_mode:
            self.copy_mim(Path(self.build_lib, 'mmiformer', '.mim'))

    def copy_mim(self, target):
        # `build/` outlives a build: what has left the checkout since must not come back.
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in MIM:
            if Path(name).is_dir():
                shutil.copytree(name, target / name, ignore=shutil.ignore_patterns('__pycache__', '*.py[cod]'))
            else:
                shutil.copy(name, target / name)


setup(cmdclass={'build_py': BuildWithMim})
