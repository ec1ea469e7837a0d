"""The configs of the installed toolboxes, all of which must pass the comparison of facts.

python -m tests.checks.zoo
"""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config
from rich.progress import track

import mmiformer  # noqa: F401, before any toolbox, which may import torchvision
from mmiformer.checks.facts import compare_facts
from mmiformer.checks.findings import Finding
from mmiformer.engine.config import LOADERS

WITHOUT_MODEL = 'without a model'
BROKEN = 'not readable'


def zoo_config(name: str) -> Path:
    """The path of a config such as 'mmdet/retinanet/retinanet_r50_fpn_1x_coco.py'."""
    toolbox, _, below = name.partition('/')
    return Path(find_spec(toolbox).origin).parent / '.mim' / 'configs' / below


def zoo_configs() -> list[Path]:
    """All configs that are not only bases."""
    folders = map(zoo_config, ('mmdet', 'mmseg'))
    return [path for folder in folders for path in sorted(folder.rglob('*.py')) if '_base_' not in path.parts]


def compare(path: Path) -> str | list[Finding]:
    """What is found in a config of the zoo, or why it was not compared."""
    try:
        cfg = Config.fromfile(path, import_custom_modules=False)
    except (ImportError, OSError):  # its base is of a toolbox that is not there, or was left out of the release
        return BROKEN
    if not cfg.get('model') or not cfg.get('default_scope'):
        return WITHOUT_MODEL
    return list(compare_facts(cfg, LOADERS))


def main() -> None:
    counts = Counter()
    for path in track(zoo_configs()):
        found = compare(path)
        levels = {finding.level for finding in found} if isinstance(found, list) else {found}
        counts.update({f'{path.parts[path.parts.index(".mim") - 1]}: {level}' for level in ('all', *levels)})
        for finding in found if 'error' in levels else ():
            print(path, finding)
    for level, count in sorted(counts.items()):
        print(f'{count:5} {level}')


if __name__ == '__main__':
    main()
