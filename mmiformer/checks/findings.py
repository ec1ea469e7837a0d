"""What checks find, told together: one table, and one error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import UserError

LEVELS = ('error', 'warning', 'note', 'fact')


@dataclass(frozen=True)
class Finding:
    """Something that a check found.

    Attributes:
        level: 'error' for what is surely wrong, 'warning' for what probably is, 'note' for what a user should know,
            'fact' for what was compared and agrees.
        where: The place in the config.
        what: What it is.
        fix: The change that mends it.
        files: All the files that it is about, where there are some.
        share: How large a part of those looked at they are, if they are broken: what a training can do without.
    """

    level: Literal['error', 'warning', 'note', 'fact']
    where: str
    what: str
    fix: str = ''
    files: tuple[str, ...] = ()
    share: float = 0.0


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that are surely wrong."""
    return [finding for finding in findings if finding.level == 'error']


def table(findings: Sequence[Finding]) -> str:
    """Findings as lines in columns, the worst first."""
    ordered = sorted(findings, key=lambda finding: LEVELS.index(finding.level))
    width = max((len(finding.where) for finding in ordered), default=0)
    rows = []
    for finding in ordered:
        for number, line in enumerate(f'{finding.what}\n{finding.fix}'.strip().splitlines()):
            level, where = ('', '') if number else (finding.level, finding.where)
            rows.append(f'  {level:7}  {where:{width}}  {line}')
    return '\n'.join(rows)


def raise_errors(findings: Iterable[Finding]) -> None:
    """Raise one error of all errors, each with the change that mends it.

    Raises:
        UserError: There is an error among the findings.
    """
    if wrong := errors(findings):
        lines = [f'{one.where}: {one.what}' + (f'\n{one.fix}' if one.fix else '') for one in wrong]
        count = f'{len(wrong)} things are wrong:\n' if len(wrong) > 1 else ''
        raise UserError(count + '\n\n'.join(lines))
