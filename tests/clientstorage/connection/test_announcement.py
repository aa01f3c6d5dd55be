"""A client that waits for its first connection says so after a second, and how it ended."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from zeotwisted.clientstorage.connection.announcement import announce
from zeotwisted.clientstorage.native import StorageClient


class Awaited:
    def __init__(self) -> None:
        self.ready: Deferred[Any] = Deferred()
        self.asked: list[tuple[float, bool]] = []

    def when_ready(self, timeout: float, fail_fast: bool = False) -> Deferred[Any]:
        self.asked.append((timeout, fail_fast))
        return self.ready

    def where(self) -> str:
        return "zeo:8100, /run/zeo.sock"

    def explanation(self) -> str:
        return "connection refused"


WAITING = (
    "main: waiting for a server at zeo:8100, /run/zeo.sock, for up to 30 seconds: "
    "connection refused"
)


def begin() -> tuple[Clock, Awaited]:
    clock, awaited = Clock(), Awaited()
    announce(awaited, clock, "main", 30.0)
    return clock, awaited


def test_a_server_that_is_there_soon(caplog: pytest.LogCaptureFixture) -> None:
    clock, awaited = begin()
    clock.advance(0.9)
    awaited.ready.callback(None)
    clock.advance(60)
    assert caplog.messages == []
    assert clock.getDelayedCalls() == []


def test_a_server_that_comes_later(caplog: pytest.LogCaptureFixture) -> None:
    clock, awaited = begin()
    assert awaited.asked == [(30.0, True)]
    clock.advance(0.9)
    assert caplog.messages == []
    clock.advance(0.1)
    assert caplog.messages == [WAITING]
    clock.advance(10)
    assert caplog.messages == [WAITING]
    awaited.ready.callback(None)
    assert caplog.messages == [WAITING, "main: the server is there, after 11.0 seconds"]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert clock.getDelayedCalls() == []


def test_a_server_that_does_not_come(caplog: pytest.LogCaptureFixture) -> None:
    clock, awaited = begin()
    clock.pump([1, 29])
    awaited.ready.errback(Failure(Exception("too late")))
    assert caplog.messages == [
        WAITING,
        "main: gave up waiting after 30.0 seconds: connection refused",
    ]


def test_a_client_that_is_refused_at_once(caplog: pytest.LogCaptureFixture) -> None:
    clock, awaited = begin()
    awaited.ready.errback(Failure(Exception("it is read-only")))
    clock.advance(60)
    assert caplog.messages == []


class Reactor(MemoryReactorClock):
    def callFromThread(self, function: Any, *args: Any) -> None:
        self.callLater(0, function, *args)


def test_a_client_without_a_server(caplog: pytest.LogCaptureFixture) -> None:
    reactor = Reactor()
    reactor.running = True
    client = StorageClient(reactor, ("127.0.0.1", 8100), wait_timeout=20)
    outcomes: list[Any] = []
    client.connect().addBoth(outcomes.append)
    reactor.advance(0)
    (connector,) = reactor.connectors
    factory = reactor.tcpClients[0][2]
    factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
    reactor.advance(1)
    (line,) = (text for text in caplog.messages if "waiting for" in text)
    assert line.startswith(
        "('127.0.0.1', 8100): waiting for a server at 127.0.0.1:8100, for up to 20 seconds: "
        "Connection was refused"
    )
    reactor.advance(19)
    assert len(outcomes) == 1
    client.close()
    (line,) = (text for text in caplog.messages if "gave up" in text)
    assert "after 20.0 seconds: Connection was refused" in line
