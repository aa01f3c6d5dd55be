"""When a silent peer is asked, and when it is given up, on a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from zeotwisted.protocol.session import ServerHandshake

from .puppets import OID_A, OID_B, Client, PuppetClient, PuppetServer, Server


class StockClient(PuppetClient):
    """One that speaks version 5, sends a keep-alive each minute, and answers nothing."""

    def beat(self) -> None:
        self.protocol.dataReceived(self._session.keep_alive())


def _stock(server: Server) -> StockClient:
    client = StockClient(server)
    client.ask("register", "1", False)
    return client


def _pass(server: Any, seconds: int) -> None:
    server.clock.pump([0.5] * 2 * seconds)


def test_stock_client_that_only_beats_stays() -> None:
    server = Server(protocol_limit=5, client_timeout=10)
    client = _stock(server)
    for _ in range(10):
        _pass(server, 60)
        client.beat()
    assert not client.dropped
    # It would not understand the question.
    assert client.received() == []


def test_stock_client_that_is_silent_is_given_up() -> None:
    server = Server(protocol_limit=5, client_timeout=10, transaction_timeout=0)
    client, other = _stock(server), _stock(server)
    client.begin(1, OID_A)
    client.ask("vote", 1)
    for _ in range(2):
        _pass(server, 60)
        other.beat()
    assert not client.dropped
    _pass(server, 31)
    assert client.dropped and not other.dropped
    client.lose()
    assert other.commit(2, OID_B)


def test_client_that_is_silent_is_asked_and_given_up() -> None:
    server = Server(transaction_timeout=0)
    client, other = server.client(), server.client()
    client.begin(1, OID_A)
    client.ask("vote", 1)
    vote = None
    for second in range(60):
        _pass(server, 1)
        if second == 5:
            other.begin(2, OID_B)
            vote = other.send("vote", 2)
        if ("ping",) in (events := other.received()):
            other.protocol.dataReceived(other._session.keep_alive())
        assert not any(event[0] == "reply" for event in events)
    assert ("ping",) in client.received()
    assert client.dropped and not other.dropped
    client.lose()
    assert ("reply", vote) in [event[:2] for event in other.received()]
    assert server.clock.getDelayedCalls()
    other.lose()
    assert server.clock.getDelayedCalls() == []


@pytest.mark.parametrize("timeout", [0, None])
def test_client_may_be_silent_for_ever(timeout: float | None) -> None:
    server = Server(client_timeout=timeout)
    client = server.client()
    _pass(server, 10_000)
    assert not client.dropped
    assert client.received() == []


def _connected(version: int) -> tuple[Client, PuppetServer]:
    client = Client()
    server = PuppetServer(client, ServerHandshake(extended=version > 5))
    return client, server.establish()


def _wait(client: Client, seconds: int) -> None:
    client.reactor.pump([1] * seconds)


@pytest.mark.parametrize("version", [5, 6])
def test_server_that_answers_stays(version: int) -> None:
    client, server = _connected(version)
    for _ in range(20):
        _wait(client, 15)
        server.deliver(server.answer(server.next("ping"), None))
    assert not server.transport.disconnecting
    assert server.calls() == []


@pytest.mark.parametrize("version", [5, 6])
def test_server_that_is_silent_is_given_up(version: int) -> None:
    client, server = _connected(version)
    protocol = client.storage._link.connection.ready
    answers: list[Any] = []
    waiting: Deferred[Any] = Deferred()
    waiting.addBoth(answers.append)
    protocol.call(waiting, "getTid", OID_A)
    _wait(client, 19 if version == 6 else 39)
    assert not answers and client.storage._link.connection.ready is protocol
    _wait(client, 11)
    assert "nothing was heard" in str(answers[0].value)
    assert client.storage._link.connection.ready is None
    server.lose()


def test_slow_call_is_waited_for_as_long_as_the_server_answers_others() -> None:
    client, server = _connected(5)
    protocol = client.storage._link.connection.ready
    answers: list[Any] = []
    waiting: Deferred[Any] = Deferred()
    waiting.addBoth(answers.append)
    protocol.call(waiting, "pack", 1.0, True)
    pack = server.next("pack")
    for _ in range(20):
        _wait(client, 15)
        server.deliver(server.answer(server.next("ping"), None))
    server.deliver(server.answer(pack, None))
    assert answers == [None]


def test_client_answers_when_it_is_asked() -> None:
    _, server = _connected(6)
    before = len(server.transport.value())
    server.deliver(server.says("ping"))
    assert server.transport.value()[before:] == server._session.keep_alive()
