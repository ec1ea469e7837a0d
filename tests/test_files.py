"""Files appear whole or not at all."""

import pytest

from mmiformer.files import whole_file


def test_a_file_appears_with_all_its_content(tmp_path):
    path = tmp_path / 'new' / 'result.json'
    with whole_file(path) as part:
        part.write_text('{}')
        assert part.suffix == '.json' and not path.exists()
    assert path.read_text() == '{}'
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_earlier_file_and_no_rest(tmp_path):
    path = tmp_path / 'result.json'
    path.write_text('old')
    with pytest.raises(RuntimeError), whole_file(path) as part:
        part.write_text('half')
        raise RuntimeError
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]
