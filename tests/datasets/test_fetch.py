"""Downloading, unpacking and verifying small archives in the real ones' layout from a local server."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from mmiformer.datasets.archives import unpack
from mmiformer.datasets.fetch import prepare
from mmiformer.datasets.sources import ADE20K, COCO, SOURCES
from mmiformer.errors import MissingFile, UserError
from tests.http_server import Server, running
from tests.other_process import at_work

from ..tools.in_process import call

REPO = Path(__file__).parents[2]
TOOL = REPO / 'tools' / 'prepare_data.py'
COUNTS = {'training': 5, 'validation': 2}


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def small(source):
    """A data set of the same layout with COUNTS images, as (table, {path on the server: archive}, {file: content})."""
    files = {}
    for split in source.splits:
        names = [f'{i:012d}' for i in range(COUNTS[split.name])]
        files |= {f'{split.images}/{name}.jpg': f'{split.name} {name}'.encode() * 50 for name in names}
        if split.annotations.endswith('.json'):
            images = [dict(id=i, file_name=f'{name}.jpg') for i, name in enumerate(names)]
            content = dict(images=images, annotations=[dict(id=1)], categories=[dict(id=1, name='cat')])
            files[split.annotations] = json.dumps(content).encode()
        else:
            files |= {f'{split.annotations}/{name}.png': b'label' for name in names}
    archives, served = [], {}
    for archive in source.archives:
        folders = {pattern.rsplit('/', 1)[0] for pattern in archive.holds}
        members = {archive.strip + name: text for name, text in files.items() if name.rsplit('/', 1)[0] in folders}
        holds = {
            p: n if n == 1 else COUNTS['training' if 'train' in p else 'validation'] for p, n in archive.holds.items()
        }
        content = served[f'/{archive.path}'] = zipped(members)
        archives.append(replace(archive, size=len(content), unpacked=10_000, holds=holds, sha256=None))
    splits = tuple(replace(split, count=COUNTS[split.name]) for split in source.splits)
    return replace(source, archives=tuple(archives), splits=splits), served, files


@pytest.fixture(params=[COCO, ADE20K], ids=['coco', 'ade20k'])
def case(request):
    source, served, files = small(request.param)
    with running(Server(served)) as server:
        yield types.SimpleNamespace(source=replace(source, base_url=server.base_url), server=server, files=files)


@pytest.fixture
def coco():
    source, served, files = small(COCO)
    with running(Server(served)) as server:
        yield types.SimpleNamespace(source=replace(source, base_url=server.base_url), server=server, files=files)


def contents(root):
    """{file: content} of the data set, archives and the lock aside."""
    paths = [path for path in root.rglob('*') if path.is_file() and '.zip' not in path.name and path.name != '.lock']
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def test_fetches_unpacks_verifies_and_is_done(case, tmp_path, capsys):
    root = tmp_path / 'new' / 'root'
    assert prepare(case.source, root) == COUNTS
    assert contents(root) == case.files
    assert case.server.requests == [f'/{archive.path}' for archive in case.source.archives]
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    capsys.readouterr()
    assert prepare(case.source, root) == COUNTS
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*')} == stamps
    assert len(case.server.requests) == len(case.source.archives)
    assert capsys.readouterr() == ('', '')


def test_archives_are_removed_when_asked(case, tmp_path):
    prepare(case.source, tmp_path, remove_archives=True)
    assert contents(tmp_path) == case.files
    assert not list(tmp_path.glob('*.zip*'))
    assert prepare(case.source, tmp_path, remove_archives=True) == COUNTS
    assert len(case.server.requests) == len(case.source.archives)  # nothing was asked for again


def test_archives_that_are_there_are_taken(case, tmp_path):
    for archive in case.source.archives:
        (tmp_path / archive.name).write_bytes(case.server.content[f'/{archive.path}'])
    assert prepare(case.source, tmp_path) == COUNTS
    assert case.server.requests == []


def test_missing_files_come_back(case, tmp_path):
    prepare(case.source, tmp_path)
    name = next(iter(case.files))
    (tmp_path / name).unlink()
    assert prepare(case.source, tmp_path) == COUNTS  # from the archive
    assert contents(tmp_path) == case.files
    for archive in case.source.archives:
        (tmp_path / archive.name).unlink()
    (tmp_path / name).unlink()
    case.server.requests.clear()
    assert prepare(case.source, tmp_path) == COUNTS  # from the server, only the archive it is in
    assert contents(tmp_path) == case.files
    assert len(case.server.requests) == 1


def test_files_that_somebody_unpacked_half_are_repaired(case, tmp_path):
    prepare(case.source, tmp_path)
    for name, content in list(case.files.items())[::2]:
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert prepare(case.source, tmp_path) == COUNTS
    assert contents(tmp_path) == case.files


def test_validation_alone(coco, tmp_path):
    assert prepare(coco.source, tmp_path, val_only=True) == {'validation': 2}
    assert not any('train2017' in path for path in coco.server.requests)
    assert prepare(coco.source, tmp_path) == COUNTS
    assert contents(tmp_path) == coco.files


def test_broken_connection_on_the_way(coco, tmp_path):
    coco.server.break_after = [100, 200, 100]
    assert prepare(coco.source, tmp_path) == COUNTS
    assert contents(tmp_path) == coco.files
    assert coco.server.ranges[:4] == [None, 'bytes=100-', 'bytes=300-', 'bytes=400-']


def test_what_has_arrived_is_kept_for_the_next_call(coco, tmp_path):
    coco.server.break_after = [100, 0]
    with pytest.raises(UserError, match=r'Cannot download(.|\n)*closed(.|\n)*100 bytes are kept') as error:
        prepare(coco.source, tmp_path)
    archive = coco.source.archives[0]
    assert f'{coco.server.base_url}/{archive.path}' in str(error.value) and str(tmp_path / archive.name) in str(
        error.value
    )
    assert (tmp_path / f'{archive.name}.part').stat().st_size == 100 and not (tmp_path / archive.name).exists()
    coco.server.ranges.clear()
    assert prepare(coco.source, tmp_path) == COUNTS
    assert coco.server.ranges[0] == 'bytes=100-'


@pytest.mark.parametrize('what', ['no_ranges', 'shorter'])
def test_what_has_arrived_is_no_beginning_of_the_file(coco, tmp_path, what):
    part = tmp_path / f'{coco.source.archives[0].name}.part'
    part.write_bytes(bytes(200))
    content, path = coco.server.content, f'/{coco.source.archives[0].path}'
    if what == 'no_ranges':
        coco.server.knows_ranges = False
    else:
        coco.server.content = {**content, path: content[path][:100]}
    with pytest.raises(UserError, match='Cannot resume|it has 200 bytes instead of'):
        prepare(coco.source, tmp_path)
    assert not part.exists()
    coco.server.content = content
    assert prepare(coco.source, tmp_path) == COUNTS


def test_a_busy_server_is_asked_again(coco, tmp_path):
    coco.server.statuses = [503]
    assert prepare(coco.source, tmp_path) == COUNTS


def test_a_known_hash(coco, tmp_path):
    first, *others = coco.source.archives
    hashed = replace(first, sha256=hashlib.sha256(coco.server.content[f'/{first.path}']).hexdigest())
    prepare(replace(coco.source, archives=(hashed, *others)), tmp_path / 'right')
    source = replace(coco.source, archives=(replace(first, sha256='0' * 64), *others))
    with pytest.raises(UserError, match='its SHA-256 is .* instead of 0000') as error:
        prepare(source, tmp_path)
    assert hashed.sha256 in str(error.value)
    assert not list(tmp_path.glob('*.zip*'))  # so the next call starts anew
    (tmp_path / first.name).write_bytes(coco.server.content[f'/{first.path}'])
    with pytest.raises(UserError, match=f'{first.name} is damaged: its SHA-256'):
        prepare(source, tmp_path)


def test_without_curl(coco, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    archive = coco.source.archives[0]
    with pytest.raises(MissingFile, match=f'curl, which is not installed(.|\n)*{archive.path} into {tmp_path}'):
        prepare(coco.source, tmp_path)
    for archive in coco.source.archives:
        (tmp_path / archive.name).write_bytes(coco.server.content[f'/{archive.path}'])
    assert prepare(coco.source, tmp_path) == COUNTS  # archives put there by hand


def test_two_at_once(coco, tmp_path):
    with at_work(tmp_path), pytest.raises(UserError, match='another process is at work'):
        prepare(coco.source, tmp_path)


def test_something_else_than_the_archive(coco, tmp_path):
    coco.server.content = dict.fromkeys(coco.server.content, b'<html>Please log in</html>')
    with pytest.raises(UserError, match='it has 26 bytes instead of .*login or proxy page'):
        prepare(coco.source, tmp_path)
    coco.server.content = {}
    with pytest.raises(UserError, match='404'):
        prepare(coco.source, tmp_path)
    assert contents(tmp_path) == {} and not list(tmp_path.glob('*.zip*'))


def test_truncated_archive_of_the_user(coco, tmp_path):
    archive = coco.source.archives[0]
    (tmp_path / archive.name).write_bytes(coco.server.content[f'/{archive.path}'][:-10])
    with pytest.raises(UserError, match=f'{archive.size - 10} bytes instead of {archive.size}. Delete it'):
        prepare(coco.source, tmp_path)
    assert (tmp_path / archive.name).exists()  # the user's to delete
    (tmp_path / archive.name).unlink()
    assert prepare(coco.source, tmp_path) == COUNTS


def test_damaged_archive(tmp_path):
    content = bytearray(zipped({'a.txt': b'a' * 100, 'b.txt': b'b' * 100}))
    content[content.index(b'b' * 100) + 50] ^= 1
    (tmp_path / 'x.zip').write_bytes(content)
    with pytest.raises(UserError, match=r"Bad CRC-32 for file 'b.txt'. Delete it"):
        unpack(tmp_path / 'x.zip', tmp_path / 'root')
    assert contents(tmp_path / 'root') == {'a.txt': b'a' * 100}  # not a trace of b
    (tmp_path / 'x.zip').write_bytes(content[:-30])
    with pytest.raises(UserError, match='not a whole zip archive'):
        unpack(tmp_path / 'x.zip', tmp_path)


@pytest.mark.parametrize(
    'name', ['../out.txt', 'a/../../out.txt', '/out.txt', 'C:/out.txt', 'a\\..\\out.txt', 'a//b.txt']
)
def test_names_that_lead_out_of_the_root(tmp_path, name):
    info = zipfile.ZipInfo('placeholder')
    info.filename = name  # as a hostile archive has it
    with zipfile.ZipFile(tmp_path / 'x.zip', 'w') as file:
        file.writestr('good.txt', 'good')
        file.writestr(info, 'bad')
    with pytest.raises(UserError, match='is not to be trusted(.|\n)*Nothing was unpacked'):
        unpack(tmp_path / 'x.zip', tmp_path / 'root')
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == ['x.zip']


def test_links_in_an_archive(tmp_path):
    info = zipfile.ZipInfo('link')
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / 'x.zip', 'w') as file:
        file.writestr(info, '/etc')
    with pytest.raises(UserError, match='is not to be trusted'):
        unpack(tmp_path / 'x.zip', tmp_path / 'root')


def test_interrupted_in_the_middle_of_a_file(coco, tmp_path, monkeypatch):
    real_copy, copied = shutil.copyfileobj, []

    def copy(source, target, length):
        copied.append(target.name)
        if len(copied) == 4:
            target.write(source.read(20))
            raise KeyboardInterrupt
        real_copy(source, target, length)

    monkeypatch.setattr(shutil, 'copyfileobj', copy)
    with pytest.raises(KeyboardInterrupt):
        prepare(coco.source, tmp_path)
    half = contents(tmp_path)
    assert len(half) == 3 and half.items() <= coco.files.items()  # three whole files and nothing else
    assert prepare(coco.source, tmp_path) == COUNTS
    assert contents(tmp_path) == coco.files
    assert len(copied) == 4 + len(coco.files) - 3  # none was unpacked twice


def test_disk_too_small(coco, tmp_path, monkeypatch):
    usage = types.SimpleNamespace(free=12_345)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(UserError, match=r'needs about 3\d\.\d kB more in .* and 12.3 kB are free'):
        prepare(coco.source, tmp_path)
    assert coco.server.requests == []
    usage.free = 10**9
    prepare(coco.source, tmp_path)
    usage.free = 0
    assert prepare(coco.source, tmp_path) == COUNTS  # nothing more is needed


def test_a_folder_that_cannot_be_written(coco, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot be written to .*file'):
        prepare(coco.source, tmp_path / 'file')
    (tmp_path / 'val2017').write_text('a file where a folder should be')
    with pytest.raises(UserError, match='cannot be written to(.|\n)*val2017'):
        prepare(coco.source, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_read_only_folder(coco, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match='cannot be written to(.|\n)*Permission denied'):
            prepare(coco.source, tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_another_number_of_images_than_the_data_set_has(coco, tmp_path):
    prepare(coco.source, tmp_path)
    splits = tuple(replace(split, count=split.count + 1) for split in coco.source.splits)
    with pytest.raises(UserError, match='has 5 training images, COCO 2017 has 6'):
        prepare(replace(coco.source, splits=splits), tmp_path)


def test_the_tables_agree_with_themselves():
    assert set(SOURCES) == {'coco', 'ade20k'}
    for source in SOURCES.values():
        holds = {pattern: n for archive in source.archives for pattern, n in archive.holds.items()}
        for split in source.splits:
            assert holds[f'{split.images}/*.jpg'] == split.count
            assert split.annotations in holds or holds[f'{split.annotations}/*.png'] == split.count
    assert [split.count for split in COCO.splits] == [118287, 5000]
    assert [split.count for split in ADE20K.splits] == [20210, 2000]


# ------------------------------------------------------------------------------------------------- the command line


def test_command_line(case, tmp_path, monkeypatch, capsys):
    source = replace(case.source, base_url='http://no-such-host.invalid')
    monkeypatch.setitem(SOURCES, source.key, source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(source.variable, raising=False)
    options = '--base-url', f'{case.server.base_url}/'
    assert call(monkeypatch, 'prepare_data', source.key, *options) is None
    output = capsys.readouterr().out
    assert 'complete: 5 training images, 2 validation images' in output and 'export' not in output
    assert contents(tmp_path / source.default_root) == case.files
    assert call(monkeypatch, 'prepare_data', source.key, tmp_path / 'other', *options) is None
    assert f'export {source.variable}={tmp_path}/other' in capsys.readouterr().out
    monkeypatch.setenv(source.variable, str(tmp_path / 'third'))
    assert call(monkeypatch, 'prepare_data', source.key, *options) is None
    assert 'export' not in capsys.readouterr().out and contents(tmp_path / 'third') == case.files


def test_command_line_errors(case, tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, case.source.key, case.source)
    wrong = '--base-url', f'{case.server.base_url}/wrong'
    message = call(monkeypatch, 'prepare_data', case.source.key, tmp_path, *wrong)
    assert message.startswith('error: Cannot download') and '404' in message
    assert call(monkeypatch, 'prepare_data', 'cocoa') == 2


def test_ade_root_one_folder_too_high(tmp_path):
    source, _, _ = small(ADE20K)
    (tmp_path / 'ADEChallengeData2016').mkdir()
    with pytest.raises(UserError, match='one folder too high: name .*ADEChallengeData2016'):
        prepare(source, tmp_path)


def test_ctrl_c_while_unpacking(coco, tmp_path):
    """The command itself, stopped by the signal that a terminal sends."""
    code = (
        'import runpy, sys, time\n'
        'import shutil\n'
        'from mmiformer.datasets.sources import SOURCES, Archive, Source, Split\n'
        f'SOURCES["coco"] = {coco.source!r}\n'
        'real = shutil.copyfileobj\n'
        'def slow(source, target, length):\n'
        '    target.write(source.read(10))\n'
        '    time.sleep(0.3)\n'
        '    real(source, target, length)\n'
        'shutil.copyfileobj = slow\n'
        f'sys.argv = ["prepare_data.py", "coco", {str(tmp_path / "coco")!r}]\n'
        f'runpy.run_path({str(TOOL)!r}, run_name="__main__")\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list((tmp_path / 'coco').glob('val2017/*.jpg')) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert 'run the same command again' in errors and 'Traceback' not in errors
    half = contents(tmp_path / 'coco')
    assert 0 < len(half) < len(coco.files) and half.items() <= coco.files.items()
    assert prepare(coco.source, tmp_path / 'coco') == COUNTS
    assert contents(tmp_path / 'coco') == coco.files
