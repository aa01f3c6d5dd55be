"""Loads in threads: few at a time, and each client gets its turn."""

from __future__ import annotations

from typing import Any

from tests.ordering.puppets import LATEST, OID_A, PuppetClient, Server
from zeotwisted.storageserver.storage.loads import Loads, RecordsInThreads


def slow_server() -> Server:
    server = Server()
    server.client().commit(1, OID_A)
    server.served.records.loads = Loads(RecordsInThreads(server.storage, server.slow.run), most=2)
    server.slow.immediate = False
    return server


def ask(client: PuppetClient, number: int) -> None:
    for _ in range(number):
        client.send("loadBefore", OID_A, LATEST)


def answers(client: PuppetClient) -> list[Any]:
    return [value for kind, _, value in client.received() if kind == "reply"]


def test_a_client_with_many_loads_does_not_keep_another_one_waiting() -> None:
    server = slow_server()
    greedy, modest = server.client(), server.client()
    ask(greedy, 500)
    ask(modest, 1)
    assert len(server.slow) == 2
    for _ in range(4):
        server.slow.work()
    assert len(answers(modest)) == 1
    assert len(answers(greedy)) == 3


def test_loads_of_a_client_that_is_gone_are_not_done() -> None:
    server = slow_server()
    gone, there = server.client(), server.client()
    ask(gone, 500)
    gone.send("loadManyBefore", [OID_A], LATEST)
    ask(there, 1)
    gone.lose()
    done = 0
    while len(server.slow):
        server.slow.work()
        done += 1
    assert done == 3
    assert len(answers(there)) == 1
    assert server.limits.report()["call-total"].used == 0
    assert not server.served.records.loads._under_way  # type: ignore[union-attr]
