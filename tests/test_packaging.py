"""What is built from a checkout: a source distribution, from it a wheel, and the wheel in use outside the checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import mmiformer

ROOT = Path(__file__).parents[1]
PARTS = (
    'mmiformer',
    'configs',
    'tools',
    'requirements',
    'tests',
    'model-index.yml',
    'README.md',
    'LICENSE',
    'MANIFEST.in',
)
JUNK = ('mmiformer/__pycache__/a.cpython-311.pyc', 'configs/_base_/__pycache__/b.pyc', 'tools/__pycache__/c.pyc')


def files(folder: Path) -> set:
    """Paths below a folder, less caches."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def build(source: Path, target: Path, kind: str) -> Path:
    """Builds a 'wheel' or an 'sdist' with what is installed, without the network."""
    code = f'import sys, setuptools.build_meta as backend; print(backend.build_{kind}(sys.argv[1]))'
    target.mkdir()
    done = subprocess.run([sys.executable, '-c', code, target], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(target.iterdir())


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """The source distribution of a checkout with caches in it, and the wheel built from that distribution."""
    base = tmp_path_factory.mktemp('packaging')
    checkout = base / 'checkout'
    checkout.mkdir()
    for part in (*PARTS, 'pyproject.toml', 'setup.py'):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(ROOT / part, checkout / part)
    for name in JUNK:
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_bytes(b'cache')
    sdist = build(checkout, base / 'sdist', 'sdist')
    with tarfile.open(sdist) as archive:
        archive.extractall(base / 'unpacked', filter='data')
    source = next((base / 'unpacked').iterdir())
    # What an earlier build left behind, of a config that is gone.
    stale = source / 'build' / 'lib' / 'mmiformer' / '.mim' / 'configs' / 'gone.py'
    stale.parent.mkdir(parents=True)
    stale.write_text('')
    return sdist, build(source, base / 'wheel', 'wheel')


def test_sdist_has_all_that_a_wheel_needs_and_no_tests(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    for folder in ('mmiformer', 'configs', 'tools', 'requirements'):
        assert files(ROOT / folder) == {
            name[len(folder) + 1 :] for name in names if Path(name).suffix and name.startswith(folder + '/')
        }
    assert {'LICENSE', 'README.md', 'model-index.yml', 'pyproject.toml', 'setup.py'} <= names
    assert not [name for name in names if name.startswith('tests') or '__pycache__' in name or name.endswith('.pyc')]


def test_wheel_has_package_configs_tools_and_index_and_nothing_else(built):
    with zipfile.ZipFile(built[1]) as archive:
        names = {name for name in archive.namelist() if '.dist-info/' not in name}
    expected = {f'mmiformer/{name}' for name in files(ROOT / 'mmiformer')}
    expected |= {f'mmiformer/.mim/{part}/{name}' for part in ('configs', 'tools') for name in files(ROOT / part)}
    assert names == expected | {'mmiformer/.mim/model-index.yml'}


def test_metadata(built):
    with zipfile.ZipFile(built[1]) as archive:
        metadata = message_from_string(archive.read(f'mmiformer-{mmiformer.__version__}.dist-info/METADATA').decode())
    assert metadata['Version'] == mmiformer.__version__
    assert metadata['License-Expression'] == 'Apache-2.0'
    requirements = [Requirement(line) for line in metadata.get_all('Requires-Dist')]
    plain = {one.name for one in requirements if 'extra' not in str(one.marker)}
    assert plain == {'torch', 'numpy', 'huggingface_hub', 'orjson', 'rich'}


@pytest.mark.parametrize('python', ['3.10', '3.11', '3.12', '3.13'])
@pytest.mark.parametrize(
    'extra', ['onedl', 'openmmlab', 'imagenet', 'peers', 'onnx', 'openvino', 'coreml', 'executorch']
)
def test_extras_are_the_pins_of_the_requirements(built, extra, python):
    def chosen(lines) -> set:
        environment = dict(extra=extra, python_version=python)
        requirements = [Requirement(line) for line in lines]
        return {
            f'{one.name}{one.specifier}'
            for one in requirements
            if one.marker is None or one.marker.evaluate(environment)
        }

    with zipfile.ZipFile(built[1]) as archive:
        [name] = [name for name in archive.namelist() if name.endswith('.dist-info/METADATA')]
        lines = message_from_string(archive.read(name).decode()).get_all('Requires-Dist')
    lines = [line for line in lines if 'extra ==' in line]
    pins = (ROOT / 'requirements' / f'{extra}.txt').read_text().splitlines()
    assert chosen(lines) == chosen(line for line in pins if line and not line.startswith('#'))


def test_installed_wheel_gives_the_configs_outside_the_checkout(built, tmp_path):
    site = tmp_path / 'site'
    with zipfile.ZipFile(built[1]) as archive:
        archive.extractall(site)
    code = """
import mmiformer
from mmengine.registry import init_default_scope
from mmdet.registry import MODELS
config = mmiformer.get_config('mask_rcnn/iformer_t_1x')
init_default_scope(config.default_scope)
print(mmiformer.__file__, config.filename, type(MODELS.build(config.model).backbone).__module__, sep='\\n')
"""
    env = {**os.environ, 'PYTHONPATH': str(site), 'PYTHONDONTWRITEBYTECODE': '1'}
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == [
        str(site / 'mmiformer' / '__init__.py'),
        str(site / 'mmiformer' / '.mim' / 'configs' / 'mask_rcnn' / 'iformer_t_1x.py'),
        'mmiformer.models.iformer',
    ]


def metafiles() -> dict:
    """What the metafiles that model-index.yml names hold, by their names."""
    names = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert len(names) == len(set(names))
    return {name: yaml.safe_load((ROOT / name).read_text()) for name in names}


def indexed() -> dict:
    """The models of all metafiles, by their config."""
    models = [model for content in metafiles().values() for model in content['Models']]
    assert len(models) == len({model['Config'] for model in models})
    return {model['Config']: model for model in models}


def test_metafiles_name_every_released_recipe_and_no_other_config():
    named = set(indexed())
    assert all((ROOT / name).is_file() for name in named)
    # The released recipes are all configs of these tasks; those for the embedded data set have nothing published.
    recipes = {
        path.relative_to(ROOT).as_posix()
        for task in ('imagenet', 'mask_rcnn', 'sem_fpn')
        for path in (ROOT / 'configs' / task).glob('*.py')
        if not path.stem.endswith('_shapes')
    }
    assert len(recipes) >= 10
    assert named == recipes


def test_metafiles_say_what_the_configs_do():
    assert set(metafiles()) == {path.relative_to(ROOT).as_posix() for path in ROOT.glob('configs/**/metafile.yml')}
    for content in metafiles().values():
        collections = {collection['Name'] for collection in content['Collections']}
        for model in content['Models']:
            assert model['Name'] == Path(model['Config']).stem and model['In Collection'] in collections
            loop, told = mmiformer.get_config(model['Config'].removeprefix('configs/')).train_cfg, model['Metadata']
            assert (told.get('Epochs'), told.get('Iterations')) == (loop.get('max_epochs'), loop.get('max_iters'))
