"""Where a data set should be, and what to tell a user who does not have it there."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import MissingFile, UserError, few
from .sources import Source

if TYPE_CHECKING:
    from .coco_file import CocoFile
    from .pairs import Pairs


class IncompleteData(UserError):
    """Images or label maps of a data set are missing.

    Attributes:
        missing: Their names.
        found: What there is, which names them too.
    """

    missing: frozenset[str]
    found: CocoFile | Pairs

    @property
    def share(self) -> float:
        """How large a part of the data set's images is missing, or has no label map."""
        names = getattr(self.found, 'images', None) or self.found.names
        return len(self.missing) / len(names)


@dataclass(frozen=True)
class Place:
    """Where a data set should be, and so what to tell a user who does not have it there.

    Attributes:
        root: The config's data_root.
        source: The data set; None for one of the user's own.
        drawn: Whether it is the embedded one, which is drawn.
    """

    root: str = ''
    source: Source | None = None
    drawn: bool = False

    def missing(self, what: str, path: str | os.PathLike[str]) -> MissingFile:
        """The error for a path that does not exist: how far it does, what is there instead, and the advice."""
        path = os.path.abspath(path)
        there = os.path.dirname(path)
        while not os.path.isdir(there):
            there = os.path.dirname(there)
        wanted = os.path.relpath(path, there).split(os.sep)[0]
        names = sorted(os.listdir(there))
        near = difflib.get_close_matches(wanted, names, n=3)  # typos first
        holds = few([*near, *(name for name in names if name not in near)]) or 'nothing'
        return MissingFile(f'{what} is missing: {path}\n{there} is there and holds {holds}.\n{self.advice(path)}')

    def error(self, text: str) -> UserError:
        """The error for something else that is wrong, with the advice."""
        return UserError(f'{text}\n{self.advice()}')

    def incomplete(self, text: str, missing: Collection[str], found: CocoFile | Pairs) -> IncompleteData:
        """The error for files that are missing, with the advice."""
        error = IncompleteData(f'{text}\n{self.advice()}')
        error.missing, error.found = frozenset(missing), found
        return error

    def advice(self, wanted: str | None = None) -> str:
        """What to do. `wanted` is the absolute path that was looked for: perhaps the root is one folder off."""
        lines = []
        if near := wanted and self._near(wanted):
            variable = f'{self.source.variable}={near} or ' if self.source else ''
            lines.append(f'It is in {near}: use that, {variable}--data-root {near}.')
        if self.drawn:
            folder = os.path.dirname(os.path.normpath(self.root))
            lines.append(f'To draw it, in all its layouts: python tools/make_shapes.py {folder or "."}')
            lines.append('If you have it elsewhere: SHAPES_ROOT=FOLDER, or --data-root FOLDER/{coco,ade,imagenet}.')
        elif self.source is None:
            lines.append(
                'The path is put together from data_root and ann_file or data_prefix of the config'
                + (f' (data_root={self.root!r}).' if self.root else ' (data_root is not set).')
                + ' Change it there, or move all of it with --data-root.'
            )
        else:
            command = f'python tools/prepare_data.py {self.source.key} {self.root or self.source.default_root}'
            what = f'To download, complete and check {self.source.title} there ({self.source.page})'
            if not self.source.base_url:
                what = f'To unpack and check {self.source.title} there (its archives are on {self.source.page})'
            lines.append(f'{what}: {command}')
            lines.append(f'If you have it elsewhere: {self.source.variable}=FOLDER, or --data-root FOLDER.')
        return '\n'.join(lines)

    def _near(self, wanted: str) -> str | None:
        """The folder one level up or down that has what was looked for below the root."""
        root = os.path.abspath(self.root)
        relative = os.path.relpath(wanted, root)
        if relative.startswith(os.pardir):
            return None
        children = [entry.path for entry in os.scandir(root) if entry.is_dir()] if os.path.isdir(root) else []
        others = (*sorted(children), os.path.dirname(root))
        return next((other for other in others if os.path.exists(os.path.join(other, relative))), None)


ANYWHERE = Place()
