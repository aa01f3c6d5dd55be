"""What a client held is free as soon as its connection is lost, without the garbage collector."""

from __future__ import annotations

import gc
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from weakref import ref

import pytest
from twisted.logger import Logger

from tests.ordering.puppets import OID_A, PuppetClient, Server
from zeotwisted.storageserver.connections.answering import Answering
from zeotwisted.storageserver.connections.connection import ServerConnection
from zeotwisted.storageserver.connections.protocol import StorageServerProtocol


@pytest.fixture(autouse=True)
def no_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Until somebody wants to have it, Twisted keeps the log, with the objects that it is about.
    for class_ in (StorageServerProtocol, Answering, ServerConnection):
        monkeypatch.setattr(class_, "_log", Logger(observer=lambda event: None))
    gc.disable()
    yield
    gc.enable()


def nothing(server: Server, client: PuppetClient) -> None:
    """It has registered, and that is all."""


def part_of_a_message(server: Server, client: PuppetClient) -> None:
    client.protocol.dataReceived(struct.pack(">I", 2**20) + b"x" * 1000)


def transaction(server: Server, client: PuppetClient) -> None:
    client.begin(1, OID_A)


def voted_transaction(server: Server, client: PuppetClient) -> None:
    client.begin(1, OID_A)
    client.ask("vote", 1)


def waiting_transaction(server: Server, client: PuppetClient) -> None:
    other = server.client()
    voted_transaction(server, other)
    client.begin(1, OID_A)
    client.send("vote", 1)


def slow_calls(server: Server, client: PuppetClient) -> None:
    server.slow.immediate = False
    for _ in range(20):
        client.send("iterator_start", None, None)


def full_backlog(server: Server, client: PuppetClient) -> None:
    client.protocol._backlog.pauseProducing()
    client.protocol._backlog._count(2**21)
    client.send_together(*[("ping",)] * 3)


def wire_error(server: Server, client: PuppetClient) -> None:
    client.protocol.dataReceived(b"\0\0\0\x01\xff")


@pytest.mark.parametrize(
    "state",
    [
        nothing,
        part_of_a_message,
        transaction,
        voted_transaction,
        waiting_transaction,
        slow_calls,
        full_backlog,
        wire_error,
    ],
)
def test_no_cycle_holds_it(state: Callable[[Server, PuppetClient], None]) -> None:
    server = Server()
    client = server.client()
    state(server, client)
    protocol = client.protocol
    parts = (protocol, protocol._session, protocol._answering, protocol._connection)
    objects = list(map(ref, parts))
    del protocol, parts
    client.lose()
    while len(server.slow):
        server.slow.work()
    del client
    assert [each() for each in objects] == [None] * len(objects)


def test_no_cycle_holds_one_that_has_not_registered() -> None:
    client = Server().client(register=False)
    protocol = ref(client.protocol)
    client.lose()
    del client
    assert protocol() is None


def test_memory_of_a_message_that_was_not_completed() -> None:
    client = Server().client()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        client.protocol.dataReceived(struct.pack(">I", 2**25) + b"x" * 1000)
        for _ in range(20):
            client.protocol.dataReceived(b"x" * 2**20)
        while_it_comes, _ = tracemalloc.get_traced_memory()
        assert while_it_comes - before > 20 * 2**20
        client.lose()
        after, _ = tracemalloc.get_traced_memory()
        assert after - before < 2**18
    finally:
        tracemalloc.stop()


# Many calls under way.


def test_client_with_many_calls_under_way_is_not_read_from() -> None:
    """It is not dropped, all of its calls are answered, and in their order."""
    server = Server(client_timeout=60, call_limit=100)
    client = server.client()
    server.slow.immediate = False
    count = 300
    client.send_together(*[("iterator_start", None, None)] * count)
    assert client.transport.producerState == "paused"
    # The timer does not take it for a client that says nothing.
    for _ in range(30):
        server.clock.advance(10)
    assert not client.dropped
    done = 0
    while len(server.slow):
        server.slow.work()
        done += 1
        server.clock.advance(0)
        if done == 49:
            assert client.transport.producerState == "paused"
    answers = [event for event in client.received() if event[0] in ("reply", "error")]
    assert done == len(answers) == count
    assert [id for _, id, _ in answers] == sorted(id for _, id, _ in answers)
    assert client.transport.producerState == "producing"
    assert server.limits.report()["call-total"] == (0, 20_000, 100, 5)


def test_calls_of_all_clients() -> None:
    """When there are too many calls, clients with few of them are still read from."""
    server = Server(call_total=50)
    server.slow.immediate = False
    greedy, modest = server.client(), server.client()
    for _ in range(49):
        greedy.send("iterator_start", None, None)
    for _ in range(5):
        modest.send("iterator_start", None, None)
    assert greedy.transport.producerState == modest.transport.producerState == "producing"
    greedy.send("iterator_start", None, None)
    assert greedy.transport.producerState == "paused"
    assert modest.transport.producerState == "producing"
    assert server.limits.report()["call-total"].struck == 1
    while len(server.slow):
        server.slow.work()
        server.clock.advance(0)
    assert greedy.transport.producerState == "producing"
    assert server.limits.report()["call-total"].used == 0


def test_calls_of_a_client_that_is_gone() -> None:
    server = Server()
    server.slow.immediate = False
    client = server.client()
    for _ in range(20):
        client.send("iterator_start", None, None)
    client.lose()
    while len(server.slow):
        server.slow.work()
    assert server.limits.report()["call-total"].used == 0
