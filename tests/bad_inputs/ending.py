"""How a command line ends, run in the process of the test."""

from __future__ import annotations

import socket

import pytest
import torch

from ..tools.in_process import call


def lines(text: str) -> list[str]:
    """The command lines of a text, one a line."""
    return [line for line in text.split('\n') if line]


def end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tool: str, words: list[str]) -> tuple[int, str]:
    """The exit code of a command line, and its last message; -1 and all messages if there is a traceback in them."""
    capsys.readouterr()
    stopped = call(monkeypatch, tool, *words)
    said = capsys.readouterr().err
    if 'Traceback (' in said:
        return -1, said
    return (1, stopped) if isinstance(stopped, str) else (stopped or 0, said)


def fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tool: str, words: list[str]) -> str | None:
    """What is wrong with the end of a wrong command line: it must be one message and status 1. None if nothing is."""
    try:
        code, said = end(monkeypatch, capsys, tool, words)
    except Exception as error:
        return f'{type(error).__name__}: {error}'[-500:]
    if code == 1 and said.startswith(('error: ', 'check: ')) and len(said) < 3000 and 'Traceback (' not in said:
        return None
    return f'{code}: {said[-500:]}'


def cut_off(monkeypatch: pytest.MonkeyPatch, cache: object) -> None:
    """Take the network away, and the weights that were fetched before."""

    def nothing(*_: object, **__: object):
        raise socket.gaierror(-3, 'Temporary failure in name resolution')

    monkeypatch.setattr(socket, 'getaddrinfo', nothing)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(cache))
