"""The project's configs by name, from a checkout and from an installed wheel alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import MissingFile, UserError

if TYPE_CHECKING:  # the package imports this module, and MMEngine takes a second
    from mmengine import Config

PACKAGE = Path(__file__).resolve().parent


def config_dir() -> Path:
    """Folder of the project's configs: `.mim/configs` of an installed wheel, `configs` of a checkout.

    Raises:
        MissingFile: The package was copied somewhere without its configs.
    """
    choices = (PACKAGE / '.mim' / 'configs', PACKAGE.parent / 'configs')
    for choice in choices:
        if (choice / '_base_').is_dir():
            return choice
    raise MissingFile(
        f"mmiformer's configs are neither in {choices[0]} (wheel) nor in {choices[1]} (checkout). "
        'Install the package from its checkout: `pip install .` or `pip install -e .`.'
    )


def get_config(name: str) -> Config:
    """One of the project's configs, ready for MMEngine's `Runner`.

    Args:
        name: Path below the folder of configs, with or without `.py`.

    Returns:
        The config with its bases merged in.

    Raises:
        UserError: There is no such config; the message lists those that there are.

    Example:
        >>> from mmiformer import get_config
        >>> get_config('mask_rcnn/iformer_m_1x').model.backbone.type
        'mmiformer.IFormer'
    """
    from mmengine import Config

    root = config_dir()
    names = sorted(
        path.relative_to(root).with_suffix('').as_posix()
        for path in root.rglob('*.py')
        if '_base_' not in path.relative_to(root).parts
    )
    if str(name).removesuffix('.py') not in names:
        raise UserError(f'there is no config {name!r} in {root}; there are: {", ".join(names)}')
    return Config.fromfile(root / f'{str(name).removesuffix(".py")}.py')
