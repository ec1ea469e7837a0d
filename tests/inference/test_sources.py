from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmiformer.errors import UserError
from mmiformer.inference.sources import BrokenSource, Video, check_folder, find_sources


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folders_patterns_and_files(tmp_path, monkeypatch):
    make(tmp_path, 'a/2.jpg', 'a/1.PNG', 'a/deep/3.webp', 'a/notes.txt', 'a/.hidden/4.jpg', 'a/._5.jpg', 'a/out/6.jpg')
    make(tmp_path, 'b/7.mp4', 'b/notes.md', 'c[1].bmp')
    monkeypatch.chdir(tmp_path)
    found = find_sources(['c[1].bmp', 'a', 'b/*', 'a/2.jpg'], leave_out=Path('a/out'))
    assert [str(s.file) for s in found] == ['c[1].bmp', 'a/1.PNG', 'a/2.jpg', 'a/deep/3.webp', 'b/7.mp4']
    assert [s.name for s in found] == ['c[1]', 'a/1', 'a/2', 'a/deep/3', 'b/7']
    assert all(s.root == tmp_path and s.path.is_file() for s in found)
    assert [s.is_video for s in found] == [False, False, False, False, True]


def test_links_are_followed_and_other_files_counted(tmp_path, caplog):
    make(tmp_path, 'here/1.jpg', 'here/2.heic', 'here/README', 'there/3.jpg', 'there/deep/4.png')
    (tmp_path / 'here/link').symlink_to(tmp_path / 'there')
    (tmp_path / 'there/deep/back').symlink_to(tmp_path / 'here')
    (tmp_path / 'here/gone.jpg').symlink_to(tmp_path / 'nowhere.jpg')
    found = find_sources([str(tmp_path / 'here')])
    assert [s.name for s in found] == ['1', 'gone', 'link/3', 'link/deep/4']
    assert caplog.messages == [
        f'{tmp_path / "here"}: 2 files are left out, neither image nor video by suffix: .heic, README'
    ]


@pytest.mark.parametrize(
    ('files', 'names'),
    [
        (['x/1.jpg'], ['1']),
        (['x/1.jpg', 'y/1.jpg'], ['x/1', 'y/1']),
        (['x/1.jpg', 'x/1.png', 'x/2.jpg'], ['1.jpg', '1.png', '2']),
        (['x/1.jpg', 'x/1.mp4'], ['1.jpg', '1.mp4']),
        (['x/1.jpg', 'x/1.png', 'x/1.jpg.png'], ['1.jpg', '1.png', '1.jpg.png']),
    ],
)
def test_no_two_results_have_one_name(files, names, tmp_path):
    make(tmp_path, *files)
    assert [s.name for s in find_sources([str(tmp_path / file) for file in files])] == names


def test_results_go_to_a_new_or_empty_folder(tmp_path):
    assert check_folder(tmp_path / 'new') == tmp_path / 'new' and not (tmp_path / 'new').exists()
    make(tmp_path, 'old/file')
    (tmp_path / 'empty').mkdir()
    assert check_folder(tmp_path / 'empty') == tmp_path / 'empty'
    with pytest.raises(UserError, match='old is there and not empty.* --overwrite'):
        check_folder(tmp_path / 'old')
    assert check_folder(tmp_path / 'old', overwrite=True) == tmp_path / 'old'
    with pytest.raises(UserError, match='is a file'):
        check_folder(tmp_path / 'old/file', overwrite=True)


def make_video(path: Path, frames: int) -> None:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 64))
    noise = np.random.default_rng(0).integers(0, 64, (64, 64, 3), dtype=np.uint8)
    for k in range(frames):
        video.write(noise + np.uint8(8 * k))
    video.release()


def test_a_video_that_breaks_off_says_so(tmp_path):
    make_video(tmp_path / 'whole.avi', 20)
    video = Video(tmp_path / 'whole.avi')
    assert (video.fps, video.length) == (5, 20)
    assert [round((frame.mean() - 31.5) / 8) for frame in video] == list(range(20))

    content = (tmp_path / 'whole.avi').read_bytes()
    (tmp_path / 'cut.avi').write_bytes(content[: len(content) * 6 // 10])
    seen = []
    with pytest.raises(BrokenSource, match=r'breaks off: \d+ of 20 frames'):
        for frame in Video(tmp_path / 'cut.avi'):
            seen.append(frame)
    assert 5 < len(seen) < 15
    (tmp_path / 'no.mp4').write_text('no video')
    with pytest.raises(BrokenSource, match='not a video that OpenCV can open'):
        Video(tmp_path / 'no.mp4')
