"""What one host does again and again does not fill the log."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from tests.ordering.puppets import OID_A, PuppetClient, Server
from zeotwisted.exceptions import ServerException
from zeotwisted.storageserver.floods import Kind
from zeotwisted.transport.tlserrors import HandshakeError

_MANY = 200


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The lines of the server, each with its level; without those for debugging."""
    found: list[str] = []

    def observe(event: LogEvent) -> None:
        level = event["log_level"].name
        namespace = event.get("log_namespace", "")
        if namespace.startswith("zeotwisted.storageserver") and level != "debug":
            found.append(f"{level} {formatEvent(event)}")

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def _probe(server: Server, data: bytes, reason: Any = None) -> None:
    protocol = server.factory.buildProtocol(None)
    protocol.makeConnection(StringTransport())
    if data:
        protocol.dataReceived(data)
    protocol.connectionLost(Failure(reason or ConnectionDone()))


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01"]
)
def test_probes_with_garbage(lines: list[str], data: bytes) -> None:
    server = Server()
    for _ in range(2000):
        _probe(server, data)
    assert len(lines) == Kind.PROBE.limit
    server.clock.advance(61)
    assert len(lines) == Kind.PROBE.limit + 1
    assert lines[-1].startswith("warn 1995 more log lines about connections that ended before")
    assert not server.clock.getDelayedCalls()


@pytest.mark.parametrize(
    "reason", [HandshakeError("no"), SSL.Error([("", "", "no shared cipher")]), ssl.SSLError()]
)
def test_probes_that_speak_no_tls(lines: list[str], reason: Exception) -> None:
    server = Server()
    for _ in range(2000):
        _probe(server, b"", reason)
    assert len(lines) <= Kind.PROBE.limit


def test_probes_that_say_nothing(lines: list[str]) -> None:
    server = Server()
    for _ in range(2000):
        _probe(server, b"")
    assert not lines
    for _ in range(2000):
        PuppetClient(server)
    server.clock.advance(31)
    assert len(lines) == Kind.PROBE.limit
    assert "has not registered" in lines[0]


def test_registered_clients_that_are_dropped(lines: list[str]) -> None:
    server = Server()
    for _ in range(_MANY):
        client = server.client()
        client.protocol.dataReceived(b"\xff\xff\xff\xff")
        client.lose()
    assert len(lines) == Kind.DROPPED.limit


def _fail(*_: object) -> None:
    raise ValueError("one\ntwo")


def test_failing_calls(lines: list[str]) -> None:
    server = Server()
    server.storage.record_iternext = _fail
    client = server.client()
    for _ in range(_MANY):
        with pytest.raises(ServerException, match="two"):
            client.ask("record_iternext", None)
    assert len(lines) == Kind.CALL.limit


def test_what_a_client_sends_is_no_long_line_and_no_second_one(lines: list[str]) -> None:
    client = Server().client(register=False)
    with pytest.raises(ServerException, match="unknown storage"):
        client.ask("register", "x\n2026 a line of mine\n" * 100, False)
    (line,) = lines
    assert len(line) < 700
    assert len(line.splitlines()) == 1


def test_one_way_failures(lines: list[str]) -> None:
    server = Server()
    for _ in range(_MANY):
        client = server.client()
        client.tell("storeBlobChunk", b"a part without its beginning")
        assert client.dropped
        client.lose()
    assert len(lines) <= Kind.CALL.limit + Kind.DROPPED.limit


def test_packs(lines: list[str]) -> None:
    server = Server()
    client = server.client()
    server.storage.pack = lambda *_: None
    for _ in range(_MANY):
        client.ask("pack", 1.0, True)
    # Each has a line for its beginning and one for its end.
    assert len(lines) == 2 * Kind.PACK.limit


def test_packs_that_fail(lines: list[str]) -> None:
    server = Server()
    server.storage.pack = _fail
    client = server.client()
    for _ in range(_MANY):
        client.tell("pack", 1.0, False)
    assert len(lines) <= Kind.PACK.limit + Kind.CALL.limit


def test_a_client_with_a_label_comes_and_goes(lines: list[str]) -> None:
    server = Server()
    client = server.client()
    client.tell("set_client_label", "a label")
    assert lines == ["info (a label 127.0.0.1:1) connected: 127.0.0.1:1 is a label"]
    client.lose()
    assert lines[1:] == ["info (a label 127.0.0.1:1) disconnected"]


def test_a_client_without_a_label_is_no_news(lines: list[str]) -> None:
    server = Server()
    server.client().lose()
    assert not lines


def test_labels_set_again_and_again(lines: list[str]) -> None:
    server = Server()
    client = server.client()
    for number in range(_MANY):
        client.tell("set_client_label", f"label {number}")
        client.tell("set_client_label", f"label {number}")
    assert len(lines) == 1 + Kind.RELABELLED.limit
    # Whatever is said of it later, says who it is now.
    assert client.protocol._connection.label == f"label {_MANY - 1} 127.0.0.1:1"


def test_the_same_label_is_no_news(lines: list[str]) -> None:
    client = Server().client()
    for _ in range(3):
        client.tell("set_client_label", "a label")
    assert len(lines) == 1


def test_labels_and_ports_do_not_help_to_flood(lines: list[str]) -> None:
    server = Server()
    for number in range(1000):
        client = server.client()
        client.tell("set_client_label", f"label {number}")
        client.protocol.dataReceived(b"\xff\xff\xff\xff")
        client.lose()
    assert len(lines) <= Kind.CAME_OR_WENT.limit + Kind.DROPPED.limit


def test_clients_that_leave_within_a_transaction(lines: list[str]) -> None:
    server = Server()
    one, two = server.client(), server.client()
    one.begin(1, OID_A)
    one.ask("vote", 1)
    two.begin(1, OID_A)
    two.lose()
    one.lose()
    assert lines == [
        "info (127.0.0.1:1) disconnected during unlocked transaction",
        "info (127.0.0.1:1) disconnected during locked transaction",
    ]


def test_waits_for_the_commit_lock(lines: list[str]) -> None:
    server = Server(transaction_timeout=30.0)
    clients = [server.client() for _ in range(12)]
    for client in clients:
        client.begin(1, OID_A)
        client.send("vote", 1)
    assert lines == [
        *(
            f"warn (127.0.0.1:1) ('1') queue lock: transactions waiting: {number}"
            for number in range(4, 10)
        ),
        *(
            f"critical (127.0.0.1:1) ('1') queue lock: transactions waiting: {number}"
            for number in (10, 11)
        ),
    ]
    del lines[:]
    server.clock.advance(30)
    assert lines[0].startswith("critical (127.0.0.1:1) Transaction timeout after 30 seconds: ")


def test_a_stop_is_one_line(lines: list[str]) -> None:
    server = Server()
    clients = [server.client() for _ in range(_MANY)]
    for client in clients[:50]:
        client.tell("set_client_label", "a label")
    clients[0].begin(1, OID_A)
    del lines[:]
    server.factory.clients.drop_all("the server stops")
    for client in clients:
        client.lose()
    assert lines == [f"info the server stops: {_MANY} clients are let go"]
    assert not server.clock.getDelayedCalls()


def test_a_stop_without_clients_is_no_news(lines: list[str]) -> None:
    Server().factory.clients.drop_all("the server stops")
    assert not lines
