"""Loads in threads: few at a time, and each client gets its turn."""

from __future__ import annotations

from typing import Any

from ZODB.utils import p64

from tests.ordering.puppets import LATEST, OID_A, PuppetClient, Server
from zeotwisted.storageserver.storage.loads import Loads, RecordsInThreads


def slow_server() -> Server:
    server = Server()
    server.client().commit(1, *map(p64, range(600)))
    server.served.records.loads = Loads(RecordsInThreads(server.storage, server.slow.run), most=2)
    server.slow.immediate = False
    return server


def ask(client: PuppetClient, number: int, first: int = 0) -> None:
    """Ask for objects one by one: clients that ask for the same ones share the loads."""
    for oid in range(first, first + number):
        client.send("loadBefore", p64(oid), LATEST)


def answers(client: PuppetClient) -> list[Any]:
    return [value for kind, _, value in client.received() if kind == "reply"]


def test_a_client_with_many_loads_does_not_keep_another_one_waiting() -> None:
    server = slow_server()
    greedy, modest = server.client(), server.client()
    ask(greedy, 500)
    ask(modest, 1, first=550)
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
    ask(there, 1, first=550)
    gone.lose()
    done = 0
    while len(server.slow):
        server.slow.work()
        done += 1
    assert done == 3
    assert len(answers(there)) == 1
    assert server.limits.report()["call-total"].used == 0
    loads = server.served.records.loads
    assert loads is not None and not loads._under_way and not loads._running


def test_a_load_that_waits_behind_many_others_is_not_waited_for() -> None:
    server = slow_server()
    greedy, modest = server.client(), server.client()
    ask(greedy, 500)
    ask(modest, 1, first=499)
    assert len(server.slow) == 2
    for _ in range(4):
        server.slow.work()
    assert len(answers(modest)) == 1
