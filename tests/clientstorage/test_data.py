"""Iterators, prefetching, undo, packing, copies, conflicts, and large or odd data."""

from __future__ import annotations

import gc
import logging
import time
from pathlib import Path
from typing import Any

import pytest
import transaction
from BTrees.Length import Length
from persistent.mapping import PersistentMapping
from ZODB import DB
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSKeyError, StorageError, Unsupported
from ZODB.utils import maxtid, p64, z64

from zeotwisted.exceptions import ClientDisconnected, ClientStorageError

from .support import InThread, World, store, wait_for_connection, wait_until

OID = p64(1)


# Iterators.


def _iid_of_gc(sent: bytearray) -> bool:
    return b"iterator_gc" in sent


def test_dropped_iterator_is_told(world: World, package: str) -> None:
    server = world.server(package)
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    for number in range(3):
        store(storage, p64(number), b"data")
    iterator = storage.iterator()
    next(iterator)
    del iterator
    gc.collect()
    assert not _iid_of_gc(proxy.sent)
    # The next iterator, or the end of the next transaction, takes the message along.
    assert len(list(storage.iterator())) == 3
    storage.ping()
    assert _iid_of_gc(proxy.sent)


def test_dropped_records_are_told_at_the_end_of_a_transaction(world: World) -> None:
    proxy = world.proxy(world.server())
    storage = world.client(proxy.address)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for number in range(3):
        storage.store(p64(number), z64, b"data", "", txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    iterator = storage.iterator()
    records = iter(next(iterator))
    assert next(records).data == b"data"
    del records
    gc.collect()
    store(storage, p64(9), b"data")
    storage.ping()
    assert _iid_of_gc(proxy.sent)


def test_dropped_records_are_told_while_the_iteration_goes_on(world: World, package: str) -> None:
    proxy = world.proxy(world.server(package))
    storage = world.client(proxy.address)
    for number in range(3):
        store(storage, p64(number), b"data")
    for txn in storage.iterator():
        for _ in txn:
            break
        gc.collect()
    assert _iid_of_gc(proxy.sent)


def test_closed_iterators(world: World, package: str) -> None:
    proxy = world.proxy(world.server(package))
    storage = world.client(proxy.address)
    for number in range(3):
        store(storage, p64(number), b"data")
    iterator = storage.iterator()
    records = iter(next(iterator))
    for each in (records, iterator):
        each.close()
        each.close()
        assert list(each) == []
    storage.ping()
    assert _iid_of_gc(proxy.sent)


def test_iterators_of_a_closed_storage(world: World, package: str) -> None:
    storage = world.client(world.server(package).address)
    for number in range(3):
        store(storage, p64(number), b"data")
    iterator = storage.iterator()
    txn = next(iterator)
    storage.close()
    with pytest.raises(ClientDisconnected):
        next(iterator)
    with pytest.raises(ClientDisconnected):
        next(iter(txn))


def test_iterator_at_its_end_is_not_told(world: World) -> None:
    proxy = world.proxy(world.server())
    storage = world.client(proxy.address)
    store(storage, OID, b"data")
    iterator = storage.iterator()
    assert [[record.oid for record in txn] for txn in iterator] == [[OID]]
    with pytest.raises(StopIteration):
        next(iterator)
    store(storage, p64(2), b"data")
    storage.ping()
    assert not _iid_of_gc(proxy.sent)


def test_iterator_after_a_disconnection(world: World, package: str) -> None:
    server = world.server(package)
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    for number in range(3):
        store(storage, p64(number), b"data")
    iterator = storage.iterator()
    records = iter(next(iterator))
    old = storage._link.connection.ready
    proxy.drop()
    wait_for_connection(
        storage, "there is a new one", lambda: storage._link.connection.ready not in (None, old)
    )
    for _ in range(2):
        with pytest.raises(ClientDisconnected):
            next(iterator)
    with pytest.raises(ClientDisconnected):
        next(records)
    assert len(list(storage.iterator())) == 3


def test_iterator_bounds_and_contents(world: World, package: str) -> None:
    storage = world.client(world.server(package).address)
    tids = [store(storage, p64(number), b"%d" % number) for number in range(4)]
    found = list(storage.iterator(tids[1], tids[2]))
    assert [txn.tid for txn in found] == tids[1:3]
    (record,) = list(next(storage.iterator(tids[3])))
    assert (record.oid, record.tid, record.data) == (p64(3), tids[3], b"3")
    assert list(storage.iterator(p64(2**62))) == []


# Prefetching and the cache.


def test_prefetch(world: World, package: str) -> None:
    server = world.server(package)
    writer = world.client(server.address)
    oids = [p64(number) for number in range(100)]
    for oid in oids:
        store(writer, oid, b"data of " + oid)
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    storage.prefetch([*oids, p64(12345)], maxtid)
    # Answers come in order.
    storage.ping()
    proxy.hold()
    for oid in oids:
        assert InThread(storage.load, oid).result()[0] == b"data of " + oid
    assert not proxy.held.is_set()


def test_prefetch_of_what_is_there_asks_for_nothing(world: World) -> None:
    proxy = world.proxy(world.server())
    storage = world.client(proxy.address)
    store(storage, OID, b"data")
    storage.load(OID)
    sent = len(proxy.sent)
    storage.prefetch([OID], maxtid)
    storage.ping()
    assert b"loadBefore" not in proxy.sent[sent:]


def test_failed_prefetch_is_logged_only(world: World, caplog: pytest.LogCaptureFixture) -> None:
    storage = world.client(world.server().address)
    storage.prefetch([p64(99)], maxtid)
    storage.ping()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_committed_data_need_not_be_loaded(world: World) -> None:
    proxy = world.proxy(world.server())
    storage = world.client(proxy.address)
    tid = store(storage, OID, b"old")
    newer = store(storage, OID, b"new", tid)
    proxy.hold()
    assert InThread(storage.load, OID).result() == (b"new", newer)
    assert storage.loadBefore(OID, newer) == (b"old", tid, newer)


# The log of transactions.


def test_history_undo_and_pack(world: World, package: str) -> None:
    storage = world.client(world.server(package).address)
    db = DB(storage)
    world.callback(db.close)
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    for value in (1, 2, 3):
        txn = manager.begin()
        txn.setUser("somebody")
        txn.note(f"value {value}")
        txn.setExtendedInfo("reason", "test")
        connection.root()["value"] = value
        manager.commit()
    history = storage.history(z64, 10)
    assert [entry["description"] for entry in history[:3]] == [b"value 3", b"value 2", b"value 1"]
    assert history[0]["tid"] == storage.lastTransaction()
    log = storage.undoLog(0, 2)
    assert [entry["description"] for entry in log] == [b"value 3", b"value 2"]
    assert log[0]["user_name"].endswith(b"somebody")
    assert storage.undoLog(0, -20, filter=lambda entry: True) == []
    found = storage.undoInfo(0, -20, {"description": b"value 2"})
    assert [entry["description"] for entry in found] == [b"value 2"]
    assert storage.undoInfo(0, -20, {"user_name": b"nobody"}) in ([], ())
    db.undo(log[0]["id"], manager.begin())
    manager.commit()
    manager.begin()
    assert connection.root()["value"] == 2
    before = len(storage.history(z64, 20))
    # Nothing is older than a day.
    storage.pack(days=1)
    assert len(storage.history(z64, 20)) == before
    storage.pack()
    assert len(storage.history(z64, 20)) == 1
    assert connection.root()["value"] == 2
    connection.close()


def test_pack_without_waiting(world: World) -> None:
    storage = world.client(world.server().address)
    db = DB(storage)
    world.callback(db.close)
    with db.transaction() as connection:
        connection.root()["key"] = "value"
    storage.pack(time.time() + 1, wait=False)
    wait_until("it is packed", lambda: len(storage.history(z64, 5)) == 1)


def test_copy_both_ways(world: World, package: str, tmp_path: Path) -> None:
    source = FileStorage(str(tmp_path / "Source.fs"))
    world.callback(source.close)
    db = DB(source)
    with db.transaction() as connection:
        connection.root()["a"] = PersistentMapping()
    with db.transaction() as connection:
        connection.root()["a"]["b"] = "c" * 100_000
    storage = world.client(world.server(package).address)
    storage.copyTransactionsFrom(source)

    def contents(storage: Any) -> list[Any]:
        return [
            (txn.tid, txn.user, txn.description, [(r.oid, r.tid, r.data) for r in txn])
            for txn in storage.iterator()
        ]

    assert contents(storage) == contents(source)
    copy = FileStorage(str(tmp_path / "Copy.fs"))
    world.callback(copy.close)
    copy.copyTransactionsFrom(storage)
    assert contents(copy) == contents(source)
    # What was copied is not taken from a cache that knows better.
    assert storage.load(z64) == source.load(z64)


def test_record_iternext(world: World, package: str) -> None:
    storage = world.client(world.server(package).address)
    for number in range(5):
        store(storage, p64(number), b"%d" % number)
    found = []
    cookie = None
    while True:
        oid, _, data, cookie = storage.record_iternext(cookie)
        found.append((oid, data))
        if cookie is None:
            break
    assert found == [(p64(number), b"%d" % number) for number in range(5)]


def test_delete_object(world: World, package: str) -> None:
    storage = world.client(world.server(package).address)
    tid = store(storage, OID, b"data")
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.deleteObject(OID, tid, txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    with pytest.raises(POSKeyError):
        storage.load(OID)


# Conflicts.


@pytest.mark.parametrize("options", [(), ("client-conflict-resolution true",)])
def test_conflict_resolution(world: World, package: str, options: tuple[str, ...]) -> None:
    server = world.server(package, *options)
    databases = [DB(world.client(server.address)) for _ in range(2)]
    with databases[0].transaction() as connection:
        connection.root()["length"] = Length(10)
    tid = databases[0].storage.lastTransaction()
    wait_until("the news are here", lambda: databases[1].storage.lastTransaction() == tid)
    manager = transaction.TransactionManager()
    first = databases[0].open(manager)
    first.root()["length"].change(1)
    with databases[1].transaction() as connection:
        connection.root()["length"].change(5)
    manager.commit()
    # The committer sees what was resolved, not what it wanted to store.
    assert first.root()["length"]() == 16
    tid = databases[0].storage.lastTransaction()
    wait_until("the news are here", lambda: databases[1].storage.lastTransaction() == tid)
    with databases[1].transaction() as connection:
        assert connection.root()["length"]() == 16
    manager.abort()
    first.close()
    for db in databases:
        db.close()


def test_conflict_is_gone_after_a_retry(world: World, package: str) -> None:
    server = world.server(package)
    first, second = world.client(server.address), world.client(server.address)
    tid = store(first, OID, b"first")
    newer = store(second, OID, b"second", tid)
    with pytest.raises(ConflictError) as caught:
        store(first, OID, b"third", tid)
    assert caught.value.oid == OID
    # Even if the news of it should not have arrived yet.
    assert first.load(OID) == (b"second", newer)
    store(first, OID, b"third", newer)


def test_outdated_read_is_a_conflict(world: World, package: str) -> None:
    server = world.server(package)
    storage = world.client(server.address)
    tid = store(storage, OID, b"data")
    store(storage, OID, b"more", tid)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.checkCurrentSerialInTransaction(OID, tid, txn)
    storage.store(p64(2), z64, b"data", "", txn)
    with pytest.raises(ConflictError):
        storage.tpc_vote(txn)
    storage.tpc_abort(txn)
    store(storage, p64(2), b"data")


# Large and odd.


def test_large_record(world: World, package: str) -> None:
    server = world.server(package)
    data = bytes(range(256)) * (20 * 4096)
    tid = store(world.client(server.address), OID, data)
    assert world.client(server.address).load(OID) == (data, tid)


def test_large_transaction(world: World) -> None:
    server = world.server()
    storage = world.client(server.address)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for number in range(300):
        storage.store(p64(number), z64, b"%d" % number * 10_000, "", txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    other = world.client(server.address)
    for number in (0, 150, 299):
        assert other.load(p64(number))[0] == b"%d" % number * 10_000
        assert storage.load(p64(number))[0] == b"%d" % number * 10_000


class _Odd:
    """Nothing that a server could know."""


@pytest.mark.parametrize(
    "value",
    [_Odd(), {1, 2}, object, lambda: None, 1j, 2**80, {"nested": [_Odd()]}, {("a", 1): _Odd()}],
    ids=["object", "set", "class", "function", "complex", "integer", "nested", "key"],
)
def test_odd_extension(world: World, package: str, value: Any) -> None:
    """It is kept or refused with an error that says so; and the storage can be used on."""
    storage = world.client(world.server(package).address)
    txn = TransactionMetaData("user", "description", {"odd": value})

    def commit() -> None:
        storage.tpc_begin(txn)
        storage.store(OID, z64, b"data", "", txn)
        storage.tpc_vote(txn)
        storage.tpc_finish(txn)

    call = InThread(commit)
    try:
        call.result()
    except ClientStorageError as error:
        assert str(error)
    storage.tpc_abort(txn)
    store(storage, p64(2), b"data")


@pytest.mark.parametrize("package", ["zeotwisted", "ZEO"])
def test_large_extension(world: World, package: str) -> None:
    storage = world.client(world.server(package).address)
    # A FileStorage has 16 bits for the length of it.
    txn = TransactionMetaData("user", "description", {"key": "value" * 20_000})
    storage.tpc_begin(txn)
    storage.store(OID, z64, b"data", "", txn)
    with pytest.raises(StorageError, match="too much extension data"):
        InThread(storage.tpc_vote, txn).result()
    world.failures.clear()
    storage.tpc_abort(txn)
    store(storage, p64(2), b"data")


def test_versions(world: World) -> None:
    storage = world.client(world.server().address)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    with pytest.raises(Unsupported):
        storage.store(OID, z64, b"", "version", txn)
    with pytest.raises(Unsupported):
        storage.restore(OID, z64, b"", "version", None, txn)
    storage.tpc_abort(txn)
