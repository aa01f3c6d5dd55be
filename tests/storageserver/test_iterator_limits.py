"""Many clients with many iterators: few files are open, and each client can go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.POSException import StorageError

from tests.ordering.puppets import PuppetClient, Server
from zeotwisted.storageserver.limits.budget import Budget
from zeotwisted.storageserver.limits.iterators import NONE, IteratorCount, IteratorLimits

from .openfiles import descriptors

MANY = 50


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FileStorage]:
    storage = FileStorage(str(tmp_path / "Data.fs"))
    db = ZODB.DB(storage)
    connection = db.open()
    for number in range(MANY):
        connection.root()["a"] = number
        transaction.commit()
    connection.close()
    yield storage
    db.close()


def start(client: PuppetClient, number: int) -> list[int]:
    return [client.ask("iterator_start", None, None) for _ in range(number)]


def used(server: Server, key: str) -> int:
    return server.limits.report()[key].used


def test_files_of_all_clients(storage: FileStorage) -> None:
    server = Server(storage, iterator_files=30)
    before = descriptors()
    clients = [server.client() for _ in range(6)]
    iterators = [start(client, 200) for client in clients]
    assert used(server, "iterator-limit") == 1200
    assert used(server, "iterator-files") <= 30 + len(clients)
    assert descriptors() - before <= 30 + len(clients)
    # All of them go on at the same place.
    tids = [each.tid for each in storage.iterator()][:3]
    for tid in tids:
        for client, iids in zip(clients, iterators, strict=True):
            assert client.ask("iterator_next", iids[0])[0] == tid
            assert client.ask("iterator_next", iids[-1])[0] == tid
    assert descriptors() - before <= 30 + len(clients)
    for client in clients:
        client.lose()
    assert used(server, "iterator-limit") == used(server, "iterator-files") == 0
    # The storage keeps one of its own.
    assert descriptors() <= before + 1


def test_a_client_alone_may_have_twenty(storage: FileStorage) -> None:
    server = Server(storage, iterator_files=30)
    start(server.client(), 100)
    assert used(server, "iterator-files") == 20


def test_idle_iterators_keep_no_file_open(storage: FileStorage) -> None:
    server = Server(storage, iterator_timeout=60, client_timeout=0)
    client = server.client()
    before = descriptors()
    first, _ = start(client, 2)
    tids = [each.tid for each in storage.iterator()]
    for tid in tids[:3]:
        server.clock.advance(59)
        assert client.ask("iterator_next", first)[0] == tid
    assert used(server, "iterator-files") == 2
    server.clock.advance(60)
    assert used(server, "iterator-files") == 0
    assert used(server, "iterator-limit") == 2
    assert descriptors() <= before + 1
    assert client.ask("iterator_next", first)[0] == tids[3]
    client.lose()
    assert not server.clock.getDelayedCalls()


def test_iterator_that_is_used_while_the_timer_ends(storage: FileStorage) -> None:
    server = Server(storage, iterator_timeout=60, client_timeout=0)
    client = server.client()
    (iid,) = start(client, 1)
    server.slow.immediate = False
    client.send("iterator_next", iid)
    server.clock.advance(60)
    assert len(server.slow) == 1, "it is closed after the call"
    while len(server.slow):
        server.slow.work()
    assert used(server, "iterator-files") == 0
    ((kind, _, item),) = client.received()
    assert kind == "reply" and item is not None


def test_end_is_counted(storage: FileStorage) -> None:
    server = Server(storage)
    client = server.client()
    (iid,) = start(client, 1)
    while client.ask("iterator_next", iid) is not None:
        assert used(server, "iterator-limit") == 1
    assert used(server, "iterator-limit") == used(server, "iterator-files") == 0


def test_those_that_were_not_used_are_removed_and_the_client_is_told(storage: FileStorage) -> None:
    server = Server(storage, iterator_limit=40)
    greedy, modest = server.client(), server.client()
    iids = start(greedy, 100)
    (own,) = start(modest, 1)
    for _ in range(3):
        assert modest.ask("iterator_next", own) is not None
    start(greedy, 1)
    with pytest.raises(StorageError, match=r"use fewer at a time \(iterator-limit\)"):
        greedy.ask("iterator_next", iids[0])
    assert used(server, "iterator-limit") <= 41


def limits(opened: int, kept: int) -> IteratorLimits:
    return IteratorLimits(Budget("iterator-files", opened), Budget("iterator-limit", kept))


def test_allowance() -> None:
    divided = limits(30, 100)
    assert divided.allowance(NONE) == (20, 10_000)
    greedy = IteratorCount(20, 80)
    divided.changed(NONE, greedy)
    assert divided.allowance(greedy) == (20, 10_000)
    assert divided.allowance(NONE) == (10, 10_000)
    other = IteratorCount(10, 20)
    divided.changed(NONE, other)
    # There is no room: each of the two may have a half, and a third one a third.
    assert divided.allowance(greedy) == (15, 50)
    assert divided.allowance(other) == (10, 50)
    assert divided.allowance(NONE) == (0, 33)
    divided.changed(greedy, NONE)
    divided.changed(other, NONE)
    assert divided.allowance(NONE) == (20, 10_000)
