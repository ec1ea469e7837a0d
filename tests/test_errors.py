"""Errors of the user, and lists in messages."""

import pytest

from mmiformer.errors import MissingFile, UserError, few


def test_lists_are_shortened():
    assert few([]) == ''
    assert few('abcd') == 'a, b, c, d'
    assert few('abcde') == 'a, b, c, d, ...'
    assert few(range(3), 2) == '0, 1, ...'


@pytest.mark.parametrize('kind', [UserError, ValueError, FileNotFoundError])
def test_a_missing_file_is_a_user_error_and_pythons_own(kind):
    with pytest.raises(kind, match='^there is no x$'):
        raise MissingFile('there is no x')
