"""A daemon that is away for hours does not fill the client's log."""

from __future__ import annotations

import logging

import pytest
from twisted.internet.error import ConnectionRefusedError
from twisted.python.failure import Failure

from tests.ordering.puppets import T0, T1, Client


@pytest.fixture
def client(caplog: pytest.LogCaptureFixture) -> Client:
    caplog.set_level(logging.INFO, "zeotwisted.client")
    return Client()


def _refuse(client: Client) -> None:
    """Refuse all attempts that are under way."""
    reactor = client.reactor
    attempts, reactor.tcpClients[:] = list(reactor.tcpClients), []
    for _, _, factory, _, _ in attempts:
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def _away(client: Client, seconds: int) -> None:
    for _ in range(seconds):
        _refuse(client)
        client.reactor.advance(1)


def test_away_for_hours(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    _away(client, 3 * 3600)
    lines = _lines(caplog)
    # At 0, 1, 3, 7, 15, 31, 63 and 123 minutes.
    assert len(lines) == 8
    assert "no connection: 127.0.0.1:1" in lines[0]
    assert "attempts in 2 h 3 min" in lines[-1]


def test_each_loss_of_a_connection_that_lasted_is_told(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    _away(client, 600)
    for _ in range(3):
        client.reactor.advance(5)
        server = client.accept().establish(T0)
        client.reactor.advance(30)
        caplog.clear()
        server.lose()
        client.reactor.advance(0)
        _refuse(client)
        lost, refused = _lines(caplog)
        assert "disconnected from 127.0.0.1:1" in lost
        assert "no connection" in refused


def test_a_server_that_leaves_before_it_is_verified(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(40):
        server = client.accept()
        server.next("register")
        server.lose()
        client.reactor.advance(4)
    assert 0 < len(_lines(caplog)) <= 3


def test_a_connection_that_we_cannot_use_has_one_traceback(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(client.storage, "notify_connected", fail)
    for _ in range(10):
        client.accept().establish(T1)
        client.reactor.advance(4)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "no room" in record.getMessage()
    assert record.exc_info
