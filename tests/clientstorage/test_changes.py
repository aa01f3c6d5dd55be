"""The feed of changes, with servers of both versions of the protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ZODB
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread
from ZODB.blob import Blob
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import p64, u64, z64

from zeotwisted.clientstorage.feed import ChangedTransaction, Changes
from zeotwisted.clientstorage.native import StorageClient
from zeotwisted.exceptions import ClientDisconnected, NotInHistory
from zeotwisted.reactor import release, shared

from .support import InThread, Server, World, store

KINDS = ["batches", "version 5", "ZEO"]


class Reader:
    """A client and its feeds, for a test in another thread."""

    def __init__(self, address: Any, **options: Any) -> None:
        self._thread = shared()
        self.client: StorageClient = self.call(
            lambda: StorageClient(self._thread.reactor, address, read_only=True, **options)
        )
        self.call(self.client.connect)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return blockingCallFromThread(self._thread.reactor, function, *args)

    def feed(self, *args: Any, **options: Any) -> Changes:
        feed: Changes = self.call(lambda: self.client.changes(*args, **options))
        return feed

    def next(self, feed: Changes) -> ChangedTransaction:
        transaction: ChangedTransaction = InThread(self.call, feed.next).result()
        return transaction

    def rest(self, *args: Any, **options: Any) -> list[ChangedTransaction]:
        """Return all up to the present end."""
        feed = self.feed(*args, once=True, **options)

        async def read() -> list[ChangedTransaction]:
            return [transaction async for transaction in feed]

        found: list[ChangedTransaction] = self.call(lambda: Deferred.fromCoroutine(read()))
        return found

    def close(self) -> None:
        self.call(self.client.close)
        release(self._thread)


@pytest.fixture(params=KINDS)
def server(world: World, request: pytest.FixtureRequest) -> Server:
    if request.param == "ZEO":
        return world.server("ZEO")
    return world.server("zeotwisted", *(["protocol-limit 5"] if "5" in request.param else []))


@pytest.fixture
def reader_of(world: World) -> Callable[..., Reader]:
    def make(address: Any, **options: Any) -> Reader:
        reader = Reader(address, **options)
        world.callback(reader.close)
        return reader

    return make


def commit(storage: Any, changes: dict[int, bytes], **metadata: Any) -> bytes:
    """Commit new objects; return the tid."""
    txn = TransactionMetaData(**metadata)
    storage.tpc_begin(txn)
    for number, data in changes.items():
        storage.store(p64(number), z64, data, "", txn)
    storage.tpc_vote(txn)
    tid: bytes = storage.tpc_finish(txn)
    return tid


def test_everything_once_in_order(
    world: World, server: Server, reader_of: Callable[..., Reader]
) -> None:
    writer = world.client(server.address)
    tids = [commit(writer, {1: b"a", 2: b"b"}, user="me", extension={"key": [1, "x"]})]
    tids += [store(writer, p64(number), b"%d" % number) for number in range(3, 30)]
    reader = reader_of(server.address)
    found = reader.rest(records=True)
    assert [each.tid for each in found] == tids
    first = found[0]
    assert (first.user, first.description, first.extension) == (b"me", b"", {"key": [1, "x"]})
    assert first.oids == [p64(1), p64(2)] and not first.is_packed
    assert first.records is not None
    for _ in range(2):
        records = [(each.oid, each.data, each.data_txn, each.has_blob) for each in first.records]
        assert records == [(p64(1), b"a", None, False), (p64(2), b"b", None, False)]
    assert [each.tid for each in reader.rest(tids[10])] == tids[11:]
    assert reader.rest(tids[-1]) == []
    assert reader.rest(tids[-2])[0].records is None


def test_it_waits_for_more(world: World, server: Server, reader_of: Callable[..., Reader]) -> None:
    writer = world.client(server.address)
    reader = reader_of(server.address)
    feed = reader.feed()
    tid = z64
    for number in range(1, 20):
        waiting = InThread(reader.call, feed.next)
        tid = store(writer, OID, b"%d" % number, tid)
        transaction = waiting.result()
        assert transaction.tid == tid == feed.position
    waiting = InThread(reader.call, feed.next)
    reader.call(feed.close)
    assert waiting.result() is None


OID = p64(1)


def test_across_restarts_and_lost_connections(
    world: World, server: Server, reader_of: Callable[..., Reader]
) -> None:
    writer = world.client(server.address)
    proxy = world.proxy(server)
    reader = reader_of(proxy.address)
    feed = reader.feed()
    tid, tids, found = z64, [], []
    for number in range(6):
        for _ in range(5):
            tid = store(writer, OID, b"%d" % number, tid)
            tids.append(tid)
        found.append(reader.next(feed).tid)
        if number == 3:
            server.stop()
            server.start()
        proxy.drop()
    while len(found) < len(tids):
        found.append(reader.next(feed).tid)
    assert found == tids


def test_a_long_transaction_is_one(
    world: World, server: Server, reader_of: Callable[..., Reader]
) -> None:
    """It takes several batches, and more than is kept in memory."""
    writer = world.client(server.address)
    changes = {number: b"%d" % number * 2000 for number in range(1, 2600)}
    tid = commit(writer, changes)
    last = store(writer, p64(9999), b"end")
    reader = reader_of(server.address)
    first, second = reader.rest(records=True)
    assert (first.tid, second.tid) == (tid, last)
    assert first.records is not None
    assert {u64(each.oid): each.data for each in first.records} == changes
    assert reader.rest()[0].oids == first.oids


def test_a_slow_reader_is_read_ahead_little(world: World, reader_of: Callable[..., Reader]) -> None:
    server = world.server()
    writer = world.client(server.address)
    for number in range(1, 41):
        store(writer, p64(number), bytes(300_000))
    proxy = world.proxy(server)
    reader = reader_of(proxy.address)
    feed = reader.feed(records=True)
    assert reader.next(feed) is not None
    # Twelve megabytes are there, and one batch has come.
    proxy.hold()
    assert [reader.next(feed).oids for _ in range(2)] == [[p64(2)], [p64(3)]]
    assert not proxy.held.is_set()
    proxy.release()
    assert reader.next(feed).oids == [p64(4)]


def test_a_position_that_is_not_there(
    world: World, server: Server, reader_of: Callable[..., Reader]
) -> None:
    writer = world.client(server.address)
    tids = [store(writer, p64(number), b"x") for number in (1, 2)]
    reader = reader_of(server.address)
    for wrong in (p64(u64(tids[0]) - 1), p64(u64(tids[0]) + 1), p64(u64(tids[1]) + 1)):
        feed = reader.feed(wrong)
        with pytest.raises(NotInHistory, match=f"{wrong.hex()} is not in the storage") as caught:
            reader.next(feed)
        assert not caught.value.packed


def test_a_restored_backup_is_noticed(world: World, reader_of: Callable[..., Reader]) -> None:
    server = world.server()
    writer = world.client(server.address)
    store(writer, OID, b"old")
    older = server.data_fs.read_bytes()
    store(writer, p64(2), b"lost")
    reader = reader_of(server.address)
    feed = reader.feed()
    assert [reader.next(feed).oids, reader.next(feed).oids] == [[OID], [p64(2)]]
    server.stop()
    server.data_fs.write_bytes(older)
    server.data_fs.with_name("Data.fs.index").unlink()
    server.start()
    with pytest.raises(NotInHistory, match="restored from an older backup"):
        reader.next(feed)


def test_after_a_pack(world: World, server: Server, reader_of: Callable[..., Reader]) -> None:
    """What is kept says that it is packed; what is gone is told."""
    storage = FileStorage(str(server.data_fs) + ".other")
    root = commit(storage, {0: b"(croot\nA\nq\x01.N."})
    tid = store(storage, z64, b"(croot\nA\nq\x01.I1\n.", root)
    store(storage, z64, b"(croot\nA\nq\x01.I2\n.", tid)
    storage.pack(time.time() + 1, lambda *args: [])
    storage.close()
    server.stop()
    Path(str(server.data_fs) + ".other").replace(server.data_fs)
    server.data_fs.with_name("Data.fs.index").unlink(missing_ok=True)
    server.start()
    reader = reader_of(server.address)
    (left,) = reader.rest()
    assert left.is_packed and left.oids == [z64]
    with pytest.raises(NotInHistory) as caught:
        reader.rest(tid)
    assert caught.value.packed
    assert [each.tid for each in reader.rest(tid, accept_gaps=True)] == [left.tid]


def test_closing_the_client_ends_it(world: World, reader_of: Callable[..., Reader]) -> None:
    server = world.server()
    reader = reader_of(server.address)
    feed = reader.feed()
    waiting = InThread(reader.call, feed.next)
    reader.call(reader.client.close)
    with pytest.raises(ClientDisconnected):
        waiting.result()


@pytest.mark.parametrize("kind", KINDS)
def test_blobs(world: World, tmp_path: Path, kind: str, reader_of: Callable[..., Reader]) -> None:
    package = "ZEO" if kind == "ZEO" else "zeotwisted"
    lines = ["protocol-limit 5"] if "5" in kind else []
    keys = f"path {tmp_path}/Data.fs\nblob-dir {tmp_path}/served"
    section = f"<filestorage>\n{keys}\n</filestorage>\n"
    server = world.server(package, *lines, storage=section)
    storage = world.client(server.address, blob_dir=str(tmp_path / "cache"))
    db = ZODB.DB(storage)
    content = bytes(range(256)) * 5000
    with db.transaction() as connection:
        blob = connection.root()["blob"] = Blob(content)
        connection.add(blob)
    reader = reader_of(server.address)
    *_, last = reader.rest(records=True)
    assert last.records is not None
    assert [each.oid for each in last.records if each.has_blob] == [blob._p_oid]
    path = str(tmp_path / "copy")
    assert reader.call(reader.client.loadBlob, blob._p_oid, last.tid, path) == path
    assert Path(path).read_bytes() == content
    with pytest.raises(FileExistsError):
        reader.call(reader.client.loadBlob, blob._p_oid, last.tid, path)
    with pytest.raises(POSKeyError):
        reader.call(reader.client.loadBlob, p64(77), last.tid, path + "2")
    assert not Path(path + "2").exists()
