"""Config and data held against each other, before anything is built."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process

from .data import check_data
from .findings import errors, raise_errors, table

logger = logging.getLogger(__name__)


def check_config(cfg: Config, loaders: Sequence[str]) -> None:
    """Check what a run will use. Call it when the processes have been joined: one looks, the others wait for it.

    What is not wrong, but worth knowing, is noted in one table.

    Args:
        cfg: The config.
        loaders: Keys of the dataloaders that the run uses.

    Raises:
        UserError: Something is surely wrong; all of it is in the message.
    """
    found = [list(check_data(cfg, loaders)) if is_main_process() else []]
    broadcast_object_list(found)
    if others := [finding for finding in found[0] if finding not in errors(found[0])]:
        logger.warning('Worth knowing before the run:\n' + table(others))
    raise_errors(found[0])
