"""A browser without a screen, driven through its pipe for debuggers."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


class Chromium:
    """Chromium with one page, which takes any certificate. A context manager.

    Args:
        options: Further command-line options.
    """

    def __init__(self, *options: str):
        self.options, self.number = options, 0

    def __enter__(self) -> Chromium:
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        reading, commands = os.pipe()
        answers, writing = os.pipe()
        options = ['--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--ignore-certificate-errors']
        options += [f'--user-data-dir={self.profile.name}', '--remote-debugging-pipe', *self.options]
        # It reads from descriptor 3 and writes to 4.
        shell = f'exec "$0" "$@" 3<&{reading} 4>&{writing}'
        self.process = subprocess.Popen(
            ['bash', '-c', shell, CHROMIUM, *options], pass_fds=(reading, writing), stderr=subprocess.DEVNULL
        )
        os.close(reading)
        os.close(writing)
        self.commands, self.answers, self.session = os.fdopen(commands, 'wb', 0), os.fdopen(answers, 'rb'), None
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait()
        self.commands.close()
        self.answers.close()
        self.profile.cleanup()

    def call(self, method: str, **parameters: object) -> dict:
        """Call a method of the DevTools protocol and return its result."""
        self.number += 1
        message = dict(id=self.number, method=method, params=parameters)
        if self.session:
            message['sessionId'] = self.session
        self.commands.write(json.dumps(message).encode() + b'\0')
        while (answer := self._read()).get('id') != self.number:  # events
            pass
        assert 'error' not in answer, f'{method}: {answer}'
        return answer['result']

    def _read(self) -> dict:
        parts = bytearray()
        while (byte := self.answers.read(1)) != b'\0':
            assert byte, 'Chromium ended'
            parts += byte
        return json.loads(parts)

    def run(self, script: str) -> object:
        """The value of a JavaScript expression, awaited."""
        found = self.call('Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True)
        assert 'exceptionDetails' not in found, found
        return found['result'].get('value')

    def open(self, url: str, seconds: float = 300) -> dict:
        """Open the page of an export, wait until it is done, and return its JSON."""
        self.call('Page.navigate', url=url)
        end = time.monotonic() + seconds
        while (state := self.run('document.documentElement?.dataset.state')) is None:
            assert time.monotonic() < end, self.run('document.body.innerText')
            time.sleep(0.1)
        assert state == 'done', self.run('document.body.innerText')
        return json.loads(self.run('document.getElementById("json").textContent'))

    def photograph(self, path: Path, width: int, dark: bool, scale: float = 1) -> None:
        """Save a picture of the whole page as it looks at this width."""
        feature = dict(name='prefers-color-scheme', value='dark' if dark else 'light')
        self.call('Emulation.setEmulatedMedia', features=[feature])
        size = dict(width=width, height=600, deviceScaleFactor=scale, mobile=width < 600)
        self.call('Emulation.setDeviceMetricsOverride', **size)
        size['height'] = self.run('document.documentElement.scrollHeight')
        self.call('Emulation.setDeviceMetricsOverride', **size)
        path.write_bytes(base64.b64decode(self.call('Page.captureScreenshot')['data']))
