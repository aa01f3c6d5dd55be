"""A client is told why the server ends its connection, if it can be told."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from ZODB.utils import z64

import zeotwisted
from tests.ordering.puppets import Client, PuppetClient, PuppetServer, Server
from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.protocol.capabilities import DROPPED

from .conftest import RawClient


def introduced(server: Server, register: bool = True) -> PuppetClient:
    """Return a client that can be told why."""
    client = server.client(register=False)
    client.ask("capabilities", "1", {DROPPED: {}})
    if register:
        client.ask("register", "1", False)
    return client


# The server.


def test_the_reason_comes_last_and_the_client_has_time_to_read_it() -> None:
    server = Server()
    client = introduced(server)
    client.send_together(("ping",), ("loadBefore", 5))
    client.protocol.drop("it is enough")
    *_, last = client.received()
    assert last == ("dropped", "it is enough")
    assert not client.dropped
    client.send("ping")
    assert client.received() == []
    server.clock.advance(2)
    assert client.transport.disconnected
    client.lose()


def test_what_the_client_held_is_free_at_once() -> None:
    server = Server()
    client, other = introduced(server), introduced(server)
    client.begin(1, z64)
    client.ask("vote", 1)
    client.protocol.drop("it is enough")
    server.clock.advance(0)
    other.begin(2, z64)
    other.ask("vote", 2)
    # The end of the connection releases nothing twice.
    client.lose()
    assert other.ask("tpc_finish", 2)
    assert server.limits.report()["connection-limit"].used == 1


def test_the_client_closes_the_connection() -> None:
    server = Server(client_timeout=0)
    client = introduced(server)
    client.protocol.drop("it is enough")
    client.lose()
    server.clock.advance(0)
    assert server.clock.getDelayedCalls() == []
    released = server.factory.clients.all_released()
    assert released.called


def test_a_server_that_stops_does_not_wait() -> None:
    server = Server()
    client = introduced(server)
    client.protocol.drop("it is enough")
    server.factory.clients.drop_all("the server stops")
    assert client.transport.disconnected


@pytest.mark.parametrize("protocol", [b"Z5", b"M5", b"M6"])
def test_clients_that_do_not_know_the_message(protocol: bytes) -> None:
    """Version 5 does not change. A client of version 6 may not have offered the capability."""
    client = Server().client(protocol=protocol)
    client.protocol.drop("it is enough")
    assert client.received() == []
    assert client.transport.disconnected


def test_a_client_that_does_not_read() -> None:
    client = introduced(Server())
    client.protocol._backlog.pauseProducing()
    client.protocol.drop("it does not read what it is sent")
    assert client.received() == []
    assert client.transport.disconnected


def test_only_some_are_told_at_the_same_time() -> None:
    server = Server(connection_limit=100, address_limit=100)
    clients = [introduced(server) for _ in range(33)]
    for client in clients:
        client.protocol.drop("it is enough")
    assert [client.dropped for client in clients] == [False] * 32 + [True]
    clients[0].lose()
    late = introduced(server)
    late.protocol.drop("it is enough")
    assert not late.dropped


def test_before_the_registration() -> None:
    server = Server(register_timeout=3)
    client = introduced(server, register=False)
    server.clock.advance(3)
    ((name, reason),) = client.received()
    assert name == "dropped"
    assert reason == ("it has not registered for a storage within 3 seconds (register-timeout)")


def test_its_memory_is_free_at_once() -> None:
    server = Server(message_limit=2**20)
    client = introduced(server)
    client.protocol.dataReceived(struct.pack(">I", 2**20) + b"x" * 2**19)
    assert server.limits.report()["message-memory"].used
    client.protocol.drop("it is enough")
    client.protocol.dataReceived(b"x" * 2**19)
    assert server.limits.report()["message-memory"].used == 0
    assert client.protocol._session.incomplete == 0


# The client.


def test_calls_that_wait_and_the_log_have_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    server = PuppetServer(client, capabilities={DROPPED: {}})
    server.establish()
    answer: Deferred[Any] = client.storage._link.protocol().request("getTid", z64)
    failures: list[Any] = []
    answer.addErrback(failures.append)
    with caplog.at_level(logging.WARNING):
        server.deliver(server._session.oneway("dropped", "it is enough (some-limit)"))
    (failure,) = failures
    assert failure.type is ClientDisconnected
    text = "the server has ended the connection: it is enough (some-limit)"
    assert str(failure.value) == text
    (record,) = caplog.records
    assert record.getMessage().endswith(text)
    assert not client.storage.is_connected()


def test_before_the_client_has_registered() -> None:
    client = Client()
    server = PuppetServer(client, capabilities={DROPPED: {}})
    server.next("register")
    server.deliver(server._session.oneway("dropped", "it is enough (some-limit)"))
    assert "it is enough (some-limit)" in str(client.storage._link.begin().failure)


# Both.


def test_a_message_that_is_too_long(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    address = serve(zeo_conf={"message_limit": "1MB"})
    storage = zeotwisted.client(address, wait_timeout=20)
    with pytest.raises(ClientDisconnected, match=r"exceeds the limit .* \(message-limit\)"):
        storage._link.call("undoInfo", 0, -20, {"user_name": "x" * 2**21})
    storage.close()
    told = [record for record in caplog.records if "(message-limit)" in record.getMessage()]
    assert [record.levelname for record in told if record.name == "zeotwisted.client"] == [
        "WARNING"
    ]


def test_the_reason_reaches_a_client_that_still_sends(serve: Callable[..., Any]) -> None:
    """Data that the server has not read must not destroy what it has sent."""
    address = serve(zeo_conf={"message_limit": "1MB"})
    client = RawClient(address)
    client.ask("capabilities", "1", {DROPPED: {}})
    client.ask("register", "1", False)
    client.socket.settimeout(20)
    client.socket.sendall(struct.pack(">I", 2**22) + b"x" * 2**22)
    while not client.events:
        assert client.receive()
    assert client.events[0].call.name == "dropped"
    client.close()
