"""Downloads of weight files and data sets that resume, are checked, and never leave half a file under the final name.

Three files may lie beside a download `x.zip`. While it runs, `x.zip.part` holds the bytes that have arrived and
`x.zip.part.json` which file on the server they belong to; afterwards `x.zip.sha256` holds the hash recorded at first
use, in the form that `sha256sum -c` reads. This module needs the standard library alone.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: downloads work, but two processes fetching one file are not kept apart
    fcntl = None

__all__ = ['DownloadError', 'Progress', 'download', 'human_size', 'locked']

TIMEOUT = 30.0  # seconds without a byte after which a connection counts as broken
RETRY_DELAY = 1.0  # seconds before the second attempt; doubles with each further one
CHUNK = 1 << 20  # bytes
TEMPORARY_HTTP_ERRORS = (408, 425, 429, 500, 502, 503, 504)


class DownloadError(OSError):
    """A file could not be had as it should be; the message names URL, path, cause and what to do."""


class _Broken(Exception):
    """One attempt failed in a way that another one may not."""


def download(
    url: str,
    path: str | os.PathLike[str],
    sha256: str | None = None,
    size: int | None = None,
    *,
    attempts: int = 5,
    progress: bool = True,
) -> Path:
    """Fetch a file unless it is there already, and check it in both cases.

    An interrupted download goes on where it stopped, now or in a later call, provided that the server can tell that the
    file is still the same (or `sha256` can); otherwise it starts anew. The SHA-256 is recorded beside the file at first
    use, and every later call checks against it. Several processes may ask for one file: one fetches, the others wait.

    Args:
        url: Where the file is, http or https. Proxies are taken from the environment (`https_proxy`).
        path: The file's final name. Missing folders are made.
        sha256: The expected hash, 64 hexadecimal digits.
        size: The expected length in bytes.
        attempts: How many times in a row a connection may fail without a new byte having arrived.
        progress: Whether to show progress on standard error.

    Returns:
        `path`, which holds the whole, checked file.

    Raises:
        ValueError: If `url` is not an http(s) URL.
        DownloadError: If the file cannot be fetched or written, or is not the expected one.
    """
    if not url.startswith(('http://', 'https://')):
        raise ValueError(f'url must start with http:// or https://, got {url!r}')
    path = Path(path)
    if path.is_dir():
        raise DownloadError(f'Cannot download {url} to {path}: that is a folder. Name the file itself.')
    if path.exists():  # under its final name a file is whole
        _check(path, path, url, sha256, size, progress)
        return path
    part = _beside(path, '.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(part, f'another process is downloading {path.name}, waiting for it', create=True):
            try:
                if path.exists():  # fetched by another process while this one waited
                    _check(path, path, url, sha256, size, progress)
                else:
                    _fetch(url, path, part, sha256, size, attempts, progress)
                    _check(part, path, url, sha256, size, progress)
                    os.replace(part, path)
            finally:
                if not part.exists() or not part.stat().st_size:  # nothing to go on from
                    part.unlink(missing_ok=True)
                    _beside(part, '.json').unlink(missing_ok=True)
    except DownloadError:
        raise
    except OSError as error:
        raise _cannot_write(url, path, error) from error
    return path


@contextmanager
def locked(path: Path, waiting: str, create: bool = False) -> Iterator[None]:
    """Hold the lock on the file `path`, which other processes that ask for it wait for.

    Args:
        path: The file; it may be renamed or removed while it is locked.
        waiting: What to say on standard error if another process holds the lock.
        create: Whether to make the file if it is missing.

    Raises:
        OSError: The file cannot be opened or made.
    """
    if fcntl is None:
        if create:
            path.touch()
        yield
        return
    while True:
        descriptor = os.open(path, os.O_RDONLY | (os.O_CREAT if create else 0), 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f'{waiting} ...', file=sys.stderr, flush=True)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError:
                pass  # a file system without locks
            # The process that held the lock may have renamed the file: then this is a lock on something else.
            if os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                yield
                return
        finally:
            os.close(descriptor)


def _fetch(url: str, path: Path, part: Path, sha256: str | None, size: int | None, attempts: int, progress: bool):
    """Fill `part` with the whole file, asking again where a connection breaks."""
    failures, most = 0, part.stat().st_size
    while True:
        try:
            return _attempt(url, path, part, sha256, size, progress)
        except _Broken as error:
            arrived = part.stat().st_size
            failures = 1 if arrived > most else failures + 1
            most = max(most, arrived)
            if failures >= attempts:
                raise DownloadError(
                    f'Cannot download {url}\nto {path}: {error}, {attempts} times in a row. '
                    + (f'{human_size(arrived)} are kept, and the same command goes on from there. ' if arrived else '')
                    + 'Where there is no network, fetch the file elsewhere and put it at that path; behind a proxy, '
                    'set https_proxy and http_proxy.'
                ) from error
            delay = RETRY_DELAY * 2 ** (failures - 1)
            print(f'{path.name}: {error}; trying again in {delay:.0f} s', file=sys.stderr, flush=True)
            time.sleep(delay)


def _attempt(url: str, path: Path, part: Path, sha256: str | None, size: int | None, progress: bool) -> None:
    """Ask once for what is missing of `part`. Returns when it is whole, raises _Broken where asking again may help."""
    state = _read_state(part, url)
    offset = part.stat().st_size
    if state.get('size') == offset and offset:
        return  # stopped between the last byte and the final name
    headers = {'User-Agent': 'mmiformer', 'Accept-Encoding': 'identity'}
    if offset and (state.get('validator') or (state and sha256)):
        headers['Range'] = f'bytes={offset}-'
        if state.get('validator'):
            headers['If-Range'] = state['validator']  # the whole file comes if it is no longer the same
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
            offset, total = _range_of(response, offset if 'Range' in headers else 0, part)
            if size is not None and total is not None and total != size:
                raise DownloadError(
                    f'Cannot download {url}\nto {path}: the server has {total} bytes under this URL, not the expected '
                    f'{size}. Either it sends something else (a login or proxy page?) or the file has been replaced.'
                )
            free = shutil.disk_usage(part.parent).free
            if total is not None and free < total - offset:
                raise DownloadError(
                    f'Cannot download {url}\nto {path}: {human_size(total - offset)} are still needed on that disc and '
                    f'{human_size(free)} are free. Make room, or choose a path on another disc.'
                )
            if progress and not offset:
                print(f'downloading {url} ({"unknown size" if total is None else human_size(total)})', file=sys.stderr)
            _beside(part, '.json').write_text(json.dumps(dict(url=url, validator=_validator(response), size=total)))
            _copy(response, url, path, part, offset, total, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # `part` is longer than the file or the file is another one
            part.write_bytes(b'')
            raise _Broken('the server has no such range') from error
        if error.code in TEMPORARY_HTTP_ERRORS:
            raise _Broken(f'the server answers {error.code} {error.reason}') from error
        raise DownloadError(
            f'Cannot download {url}\nto {path}: the server answers {error.code} {error.reason}. Check the URL; if the '
            'file has moved, fetch it by other means and put it at that path.'
        ) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f'Cannot download {url}\nto {path}: the certificate of the server is not trusted ({error.reason}). '
                'Behind a proxy that re-signs traffic, point SSL_CERT_FILE at its certificate.'
            ) from error
        raise _Broken(f'no connection ({error.reason})') from error
    except (ConnectionError, TimeoutError, http.client.HTTPException) as error:  # before the first byte of the body
        raise _Broken(f'the connection broke off ({error or type(error).__name__})') from error


def _range_of(response: http.client.HTTPResponse, offset: int, part: Path) -> tuple[int, int | None]:
    """From which byte on the answer is, and how long the whole file is (None where the server does not say)."""
    if response.status != 206:  # the whole file: nothing was there, ranges are ignored, or the file has changed
        return 0, response.length
    match = re.fullmatch(r'bytes (\d+)-\d+/(\d+|\*)', response.headers.get('Content-Range', ''))
    if match is None or int(match[1]) != offset:
        part.write_bytes(b'')
        raise _Broken(f'the server answers with a range not asked for ({response.headers.get("Content-Range")})')
    return offset, None if match[2] == '*' else int(match[2])


def _copy(response, url: str, path: Path, part: Path, offset: int, total: int | None, progress: bool) -> None:
    """Append the body to the first `offset` bytes of `part`."""
    with open(part, 'r+b') as file, Progress(path.name, total, start=offset, show=progress) as bar:
        file.truncate(offset)
        file.seek(offset)
        while True:
            try:
                chunk = response.read1(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _Broken(f'the connection broke off ({error or type(error).__name__})') from error
            if not chunk:
                break
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
        if total is not None and file.tell() != total:
            raise _Broken(f'the connection ended at {file.tell()} of {total} bytes')


def _check(file: Path, path: Path, url: str, sha256: str | None, size: int | None, progress: bool) -> None:
    """Compare `file`, which is or will be `path`, with what is expected and with the hash recorded at first use."""
    record = _beside(path, '.sha256')
    fresh = file != path  # a fresh download that is wrong is thrown away, a file that was there is the user's
    actual_size = file.stat().st_size
    problem = None
    if size is not None and actual_size != size:
        problem = f'it has {actual_size} bytes instead of {size}'
    else:
        digest = _hash(file, f'checking {path.name}', progress)
        recorded = record.read_text().split()[0].lower() if record.exists() and record.stat().st_size else None
        if sha256 is not None and digest != sha256.lower():
            problem = f'its SHA-256 is {digest} instead of {sha256.lower()}'
        elif sha256 is None and recorded is not None and digest != recorded:
            problem = f'its SHA-256 is {digest}, but {recorded} was recorded in {record} at first use'
        elif digest != recorded:
            try:
                record.write_text(f'{digest}  {path.name}\n')
            except OSError:
                if fresh:
                    raise
                # A read-only folder of files put there by hand: nothing to compare with next time, no harm done.
    if problem is None:
        return
    if fresh:
        file.unlink()
        raise DownloadError(
            f'The file downloaded from {url}\nfor {path} is not the expected one: {problem}. It was thrown away. Try '
            f'again; if that is how the server has it now and you trust it, delete {record} first (if it is there).'
        )
    raise DownloadError(
        f'{path} is not the file that {url} had: {problem}. Delete it (and {record.name} beside it, if it is there) '
        'and run the command again to fetch it anew.'
    )


def _hash(path: Path, label: str, progress: bool) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file, Progress(label, path.stat().st_size, show=progress) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def _read_state(part: Path, url: str) -> dict:
    """What was noted about the bytes in `part`; {} if they are not known to be of `url`."""
    try:
        state = json.loads(_beside(part, '.json').read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) and state.get('url') == url else {}


def _validator(response: http.client.HTTPResponse) -> str | None:
    """What If-Range may hold: a strong ETag, or else the date of the last change."""
    tag = response.headers.get('ETag')
    return tag if tag and not tag.startswith('W/') else response.headers.get('Last-Modified')


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _cannot_write(url: str, path: Path, error: OSError) -> DownloadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = f'the disc is full ({error.strerror}). What has arrived is kept: make room and run the command again.'
    else:
        what = f'{error}. Choose a path that can be written.'
    return DownloadError(f'Cannot download {url}\nto {path}: {what}')


def human_size(size: float) -> str:
    """Bytes in decimal units, as discs and download pages count them: 19336861798 -> '19.3 GB'."""
    units = ['B', 'kB', 'MB', 'GB', 'TB']
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f'{size:.0f} {units[0]}' if units[0] == 'B' or size >= 100 else f'{size:.1f} {units[0]}'


class Progress:
    """One line on a terminal that tells how far something is; in a log file a line per minute.

    What is done at once shows nothing.

    Args:
        label: What is going on.
        total: How much there is to do, in bytes, or None if nobody knows.
        start: How much of it was done before.
        show: False for silence.
    """

    def __init__(self, label: str, total: int | None, start: int = 0, show: bool = True) -> None:
        self.label, self.total, self.start, self.done = label, total, start, start
        self.show = show
        self.terminal = show and sys.stderr.isatty()
        self.interval = 0.2 if self.terminal else 60.0
        self.began = self.shown = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.terminal and self.shown > self.began:
            self._print()
            print(file=sys.stderr, flush=True)

    def update(self, amount: int) -> None:
        """Count `amount` further bytes as done."""
        self.done += amount
        if self.show and time.monotonic() - self.shown >= self.interval:
            self._print()

    def _print(self) -> None:
        self.shown = time.monotonic()
        rate = (self.done - self.start) / max(self.shown - self.began, 1e-3)
        line = f'{self.label}: {human_size(self.done)}'
        if self.total:
            line += f' of {human_size(self.total)} ({100 * self.done // self.total} %)'
        line += f', {human_size(rate)}/s'
        if self.total and rate > 0:
            seconds = int((self.total - self.done) / rate)
            line += f', {seconds // 60}:{seconds % 60:02d} left'
        if self.terminal:
            columns = shutil.get_terminal_size().columns
            print(f'\r{line[: columns - 1]:<{columns - 1}}', end='', file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
