"""What the daemon tells systemd."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from zeotwisted.daemon.supervisor import Supervisor, supervisor

from .conftest import ANYWHERE, TIMEOUT, Running, environment

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket that stands in for systemd's, and its address as systemd writes it."""
    if request.param == "path":
        address = name = str(tmp_path / "notify")
    else:
        address, name = f"@zeotwisted-{os.getpid()}", f"\0zeotwisted-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT)
        sock.bind(name)
        yield sock, address


class Started:
    """A supervisor whose clock the test has."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.reactor: Any = MemoryReactorClock()
        made = supervisor(self.reactor, lambda: "serving 1\nat s", environment)
        assert made is not None
        self.service: Supervisor = made
        self.service.startService()

    def run(self) -> None:
        for hook, args, kwargs in self.reactor.whenRunningHooks:
            hook(*args, **kwargs)


def messages(sock: socket.socket) -> list[str]:
    """Return the messages that wait."""
    sock.setblocking(False)
    found = []
    while True:
        try:
            found.append(sock.recv(1000).decode())
        except BlockingIOError:
            return found


def test_ready_when_the_reactor_runs(systemd: tuple[socket.socket, str]) -> None:
    sock, address = systemd
    started = Started({"NOTIFY_SOCKET": address})
    assert messages(sock) == []
    started.run()
    assert messages(sock) == [f"READY=1\nSTATUS=serving 1 at s\nMAINPID={os.getpid()}"]
    started.reactor.advance(1000)
    assert messages(sock) == []
    started.service.stopService()
    assert messages(sock) == ["STOPPING=1\nSTATUS=stopping"]


def test_watchdog(systemd: tuple[socket.socket, str]) -> None:
    sock, address = systemd
    started = Started({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"})
    started.run()
    assert messages(sock)[1:] == ["WATCHDOG=1"]
    started.reactor.advance(14.9)
    assert messages(sock) == []
    started.reactor.advance(0.2)
    assert messages(sock) == ["WATCHDOG=1"]
    started.service.stopService()
    messages(sock)
    started.reactor.advance(100)
    assert messages(sock) == []


@pytest.mark.parametrize(
    "more", [{"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}]
    + [{"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}]
)  # fmt: skip
def test_no_watchdog(systemd: tuple[socket.socket, str], more: dict[str, str]) -> None:
    sock, address = systemd
    started = Started({"NOTIFY_SOCKET": address} | more)
    started.run()
    started.reactor.advance(100)
    assert len(messages(sock)) == 1


def test_stops_before_it_runs(systemd: tuple[socket.socket, str]) -> None:
    sock, address = systemd
    started = Started({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    started.service.stopService()
    started.run()
    assert messages(sock) == ["STOPPING=1\nSTATUS=stopping"]


@pytest.mark.parametrize("address", [None, "", "vsock:2:1"])
def test_without_systemd(address: str | None) -> None:
    variables = {} if address is None else {"NOTIFY_SOCKET": address}
    assert supervisor(MemoryReactorClock(), str, variables) is None


def test_daemon(daemon: Callable[..., Running], systemd: tuple[socket.socket, str]) -> None:
    sock, address = systemd
    variables = environment(NOTIFY_SOCKET=address, WATCHDOG_USEC="200000")
    running = daemon(*ANYWHERE, env=variables)
    ready = sock.recv(1000).decode()
    assert ready == (
        f"READY=1\nSTATUS=serving 1 at tcp:0:interface=127.0.0.1\nMAINPID={running.process.pid}"
    )
    assert [sock.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    assert running.stop() == 0
    assert messages(sock)[-1] == "STOPPING=1\nSTATUS=stopping"
    assert "systemd cannot be told" not in running.output


def test_systemd_that_does_not_listen(daemon: Callable[..., Running], tmp_path: Path) -> None:
    running = daemon(*ANYWHERE, env=environment(NOTIFY_SOCKET=str(tmp_path / "nobody")))
    assert running.process.stdout is not None
    while "systemd cannot be told READY=1 at" not in running.output:
        line = running.process.stdout.readline()
        assert line, running.output
        running.output += line
    assert running.stop() == 0
    assert running.output.count("systemd cannot be told") == 1
