"""Real daemons, each a process of its own in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import transaction

import zeotwisted

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = Path(sys.executable).parent
ANYWHERE = ("--listen", "tcp:0:interface=127.0.0.1")

#: How long (seconds) a process may take to do as it is told.
TIMEOUT = 20

_LISTENING = re.compile(
    r"listening at (?:IPv[46]Address\(type='TCP', host='(?P<host>.*?)', port=(?P<port>\d+)"
    r"|UNIXAddress\('(?P<path>.*?)'\))"
)


def environment(**more: str) -> dict[str, str]:
    """Return variables with which any Python finds this checkout and its plugin."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"} | more
    variables.pop("ZEO_MSGPACK", None)
    return variables


def addresses_in(text: str) -> list[Any]:
    """Return where a daemon with this log listens, as clients want to have it."""
    found: list[Any] = []
    for match in _LISTENING.finditer(text):
        if match["port"]:
            found.append((match["host"], int(match["port"])))
        else:
            found.append(match["path"])
    return found


class Running:
    """A daemon that listens.

    :ivar addresses: where.
    :ivar output: what it has printed so far.
    """

    def __init__(self, command: list[str], folder: Path, listeners: int, **options: Any) -> None:
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **({"cwd": folder, "env": environment()} | options),
        )
        self.output = ""
        self._code: int | None = None
        assert self.process.stdout is not None
        while len(addresses_in(self.output)) < listeners:
            line = self.process.stdout.readline()
            if not line:
                self.process.wait(TIMEOUT)
                raise AssertionError(f"it does not listen:\n{self.output}")
            self.output += line
        self.addresses = addresses_in(self.output)
        self.address = self.addresses[0]
        # It listens before its reactor runs, and minds signals only after that.
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        with socket.socket(family) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect(self.address)
            assert sock.recv(1)

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Stop it; return its exit code.

        It is 0 if an application of Twisted's shut down and then ended by the signal, as these do.
        """
        if self._code is not None:
            return self._code
        self.process.send_signal(signum)
        try:
            rest, _ = self.process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        self.output += rest
        self._code = self.process.returncode
        if self._code == -signum and "Main loop terminated" in self.output:
            self._code = 0
        return self._code


def wait_for(running: Running, text: str) -> None:
    """Read the daemon's output up to a line with this text."""
    assert running.process.stdout is not None
    while text not in running.output:
        line = running.process.stdout.readline()
        assert line, running.output
        running.output += line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The working folder of daemons."""
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Iterator[Callable[..., Running]]:
    """Run a command until it listens; at the end it stops, without an error in its log."""
    started: list[Running] = []

    def start(*command: str, listeners: int = 1, **options: Any) -> Running:
        running = Running(list(command), folder, listeners, **options)
        started.append(running)
        return running

    yield start
    codes = [(running.stop(), running.output) for running in started]
    for code, output in codes:
        assert code in (0, -signal.SIGKILL), output
        assert "Traceback" not in output
        assert "Unhandled" not in output
    assert not (folder / "twistd.pid").exists() or any(code for code, _ in codes)


@pytest.fixture
def daemon(run: Callable[..., Running]) -> Callable[..., Running]:
    """Run ``twistd -n zeo`` with some options."""

    def start(*options: str, **more: Any) -> Running:
        # Several of them share a folder.
        return run(str(SCRIPTS / "twistd"), "-n", "--pidfile", "", "zeo", *options, **more)

    return start


@contextmanager
def opened(address: Any, **options: Any) -> Iterator[Any]:
    """Open a connection as a client; close all of it at the end."""
    connection = zeotwisted.connection(address, **({"wait_timeout": 10} | options))
    try:
        yield connection
    finally:
        transaction.abort()
        connection.close()


def commit(address: Any, key: str, value: Any, **options: Any) -> None:
    """Commit something, as a client."""
    with opened(address, **options) as connection:
        connection.root()[key] = value
        transaction.commit()


def read(address: Any, key: str, **options: Any) -> Any:
    """Read what was committed, as another client."""
    with opened(address, **options) as connection:
        return connection.root().get(key)
