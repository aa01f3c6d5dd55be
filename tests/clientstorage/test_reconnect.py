"""A server that goes, comes back, comes back older, or never was one."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from typing import Any

import pytest
import transaction
import zope.event
from persistent.mapping import PersistentMapping
from ZODB import DB
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, p64, z64

from zeotwisted import ClientStorage
from zeotwisted.exceptions import ClientDisconnected, ClientStorageError, ProtocolError
from zeotwisted.interfaces import StaleCache

from .support import InThread, Server, World, store, wait_for_connection, wait_until

OID = p64(1)


def _lost(storage: Any) -> None:
    wait_for_connection(storage, "the connection is lost", lambda: not storage.is_connected())


def _found(storage: Any) -> None:
    wait_for_connection(storage, "there is a connection", storage.is_connected)


def _restart(server: Server, storage: Any) -> None:
    server.stop()
    _lost(storage)
    server.start()


def test_restart(world: World, package: str) -> None:
    server = world.server(package)
    storage = world.client(server.address)
    tid = store(storage, OID, b"data")
    _restart(server, storage)
    # A new call waits for the server.
    assert storage.getTid(OID) == tid
    assert storage.is_connected()
    assert storage.lastTransaction() == tid
    assert store(storage, OID, b"more", tid) > tid


def test_call_under_way_fails_at_once(world: World, package: str) -> None:
    server = world.server(package)
    proxy = world.proxy(server)
    storage = world.client(proxy.address, wait_timeout=60)
    store(storage, OID, b"data")
    proxy.hold()
    call = InThread(storage.getTid, OID)
    assert proxy.held.wait(20)
    began = time.monotonic()
    proxy.drop()
    with pytest.raises(ClientDisconnected, match="connection"):
        call.result()
    assert time.monotonic() - began < 5


def test_retry_after_a_failure_waits_for_the_next_connection(world: World) -> None:
    """Whoever hears of a lost connection finds it gone, and does not fail for a second time."""
    server = world.server()
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    tid = store(storage, OID, b"data")

    def persistent() -> tuple[bytes, int]:
        failures = 0
        while True:
            try:
                return storage.getTid(OID), failures
            except ClientDisconnected:
                failures += 1

    for garbage in (False, True):
        proxy.hold()
        call = InThread(persistent)
        assert proxy.held.wait(20)
        proxy.inject(b"\xff" * 8) if garbage else proxy.drop()
        proxy.release()
        assert call.result() == (tid, 1)


def _begin(storage: Any) -> TransactionMetaData:
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    return txn


def _store(storage: Any, txn: TransactionMetaData) -> None:
    storage.store(OID, z64, b"data", "", txn)


#: How far a transaction has got when the connection is lost -> the steps before.
STEPS: dict[str, list[Any]] = {
    "begun": [],
    "stored": [_store],
    "voted": [_store, lambda storage, txn: storage.tpc_vote(txn)],
}


def test_no_oid_is_given_out_twice(world: World, package: str) -> None:
    """A server that is started anew does not know which ones it has given out and nobody stored."""
    server = world.server(package)
    storage = world.client(server.address)
    storage.new_oid()
    _restart(server, storage)
    _found(storage)
    other = world.client(server.address)
    others = {other.new_oid() for _ in range(100)}
    assert storage.new_oid() not in others


@pytest.mark.parametrize("steps", STEPS)
def test_open_transaction_is_poisoned(world: World, package: str, steps: str) -> None:
    server = world.server(package)
    storage = world.client(server.address)
    txn = _begin(storage)
    for step in STEPS[steps]:
        step(storage, txn)
    _restart(server, storage)
    _found(storage)
    for later in (
        lambda: _store(storage, txn),
        lambda: storage.deleteObject(OID, z64, txn),
        lambda: storage.checkCurrentSerialInTransaction(OID, z64, txn),
        lambda: storage.restore(OID, maxtid, b"", "", None, txn),
        lambda: storage.undo(z64, txn),
        lambda: storage.tpc_vote(txn),
    ):
        with pytest.raises(ClientDisconnected):
            later()
    if steps == "voted":
        # tpc_finish is the end of a transaction, even if it fails.
        with pytest.raises(ClientDisconnected):
            storage.tpc_finish(txn)
    storage.tpc_abort(txn)
    assert storage.tpc_transaction() is None
    with pytest.raises(POSKeyError):
        storage.load(OID)
    store(storage, OID, b"new")
    assert storage.load(OID)[0] == b"new"


@pytest.mark.parametrize("limit", [5, 6])
def test_lost_while_finishing(world: World, limit: int) -> None:
    """The answer is lost, and found again on the next connection."""
    server = world.server("zeotwisted", f"protocol-limit {limit}")
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    tid = store(storage, OID, b"old")
    txn = _begin(storage)
    storage.store(OID, tid, b"new", "", txn)
    storage.tpc_vote(txn)
    proxy.hold()
    told: list[bytes] = []
    finish = InThread(storage.tpc_finish, txn, told.append)
    assert proxy.held.wait(20)
    proxy.drop()
    proxy.release()
    committed = finish.result()
    assert committed > tid
    assert told == [committed]
    assert storage.load(OID) == (b"new", committed)
    assert storage.lastTransaction() == committed


class _Objects:
    """A database with three objects, seen by an observer and changed by another client."""

    def __init__(self, world: World, *options: str, package: str = "zeotwisted") -> None:
        self.server = world.server(package, *options)
        self.proxy = world.proxy(self.server)
        self.storage = world.client(self.proxy.address)
        self.manager = transaction.TransactionManager()
        self.db = DB(self.storage)
        world.callback(self.db.close)
        self.connection = self.db.open(self.manager)
        world.callback(self.connection.close)
        world.callback(self.manager.abort)
        root = self.connection.root()
        for name in "abc":
            root[name] = PersistentMapping(value=0)
        self.manager.commit()
        self._world = world

    def changed_elsewhere(self, *names: str, value: int = 1, times: int = 1) -> None:
        other = DB(self._world.client(self.server.address))
        for number in range(times):
            with other.transaction() as connection:
                for name in names:
                    connection.root()[name]["value"] = value + number
        other.close()

    def read(self) -> list[int]:
        """Bring all into the caches."""
        self.manager.begin()
        root = self.connection.root()
        return [root[name]["value"] for name in "abc"]

    def changed(self) -> list[bool | None]:
        """Whether each object is in the connection's cache (False) or has to be loaded (None)."""
        self.manager.begin()
        root = self.connection.root()
        return [root[name]._p_changed for name in "abc"]


def _away_while(objects: _Objects, what: Any) -> None:
    """Let the observer be away while others change things."""
    # The next connection ends up at the proxy, too, but nothing gets through it.
    objects.proxy.hold()
    objects.proxy.drop()
    _lost(objects.storage)
    what()
    objects.proxy.drop()
    objects.proxy.release()
    _found(objects.storage)


def test_missed_invalidations_are_replayed(world: World, package: str) -> None:
    objects = _Objects(world, package=package)
    assert objects.read() == [0, 0, 0]
    _away_while(objects, lambda: objects.changed_elsewhere("b"))
    assert objects.changed() == [False, None, False]
    cached = objects.storage._cache
    root = objects.connection.root()
    assert cached.load(root["a"]._p_oid) is not None
    assert cached.load(root["b"]._p_oid) is None
    assert objects.read() == [0, 1, 0]


#: A daemon with these options remembers two transactions.
_SHORT_MEMORY = "invalidation-queue-size 2\ninvalidation-queue-bytes 0\ninvalidation-age 0"


def test_away_for_too_long(world: World, package: str) -> None:
    options = _SHORT_MEMORY if package == "zeotwisted" else "invalidation-queue-size 2"
    objects = _Objects(world, options, package=package)
    assert objects.read() == [0, 0, 0]
    stale: list[StaleCache] = []
    zope.event.subscribers.append(stale.append)
    try:
        # ZEO's servers keep a little more than they are told to.
        _away_while(objects, lambda: objects.changed_elsewhere("a", "c", times=30))
    finally:
        zope.event.subscribers.remove(stale.append)
    assert [event.storage for event in stale] == [objects.storage]
    assert len(objects.storage._cache) == 0
    assert objects.changed() == [None, None, None]
    assert objects.read() == [30, 0, 30]


def test_events_go_where_the_application_wants_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = _Objects(world, _SHORT_MEMORY)
    objects.read()
    stale: list[StaleCache] = []
    monkeypatch.setattr("ZODB.event.notify", stale.append)
    _away_while(objects, lambda: objects.changed_elsewhere("a", "c", times=30))
    assert [event.storage for event in stale] == [objects.storage]


def test_nothing_missed(world: World) -> None:
    objects = _Objects(world)
    objects.read()
    records = len(objects.storage._cache)
    _away_while(objects, lambda: None)
    assert len(objects.storage._cache) == records > 0
    assert objects.changed() == [False, False, False]


def test_restored_backup(world: World, caplog: pytest.LogCaptureFixture) -> None:
    objects = _Objects(world)
    server, storage = objects.server, objects.storage
    server.stop()
    _lost(storage)
    backup = server.data_fs.with_suffix(".backup")
    shutil.copy(server.data_fs, backup)
    server.start()
    _found(storage)
    old = storage.lastTransaction()
    objects.changed_elsewhere("a", "b", value=5)
    wait_until("the news are here", lambda: storage.lastTransaction() > old)
    assert objects.read() == [5, 5, 0]
    server.stop()
    _lost(storage)
    shutil.copy(backup, server.data_fs)
    server.data_fs.with_suffix(".fs.index").unlink(missing_ok=True)
    with caplog.at_level(logging.CRITICAL):
        server.start()
        _found(storage)
    assert "backup" in caplog.text
    assert storage.lastTransaction() == old
    assert len(storage._cache) == 0
    assert objects.read() == [0, 0, 0]


def test_new_addr(world: World) -> None:
    first, second = world.server(), world.server()
    storage = world.client(first.address, name="n")
    storage.new_addr(second.address)
    assert storage.is_connected()
    store(world.client(second.address), OID, b"data")
    first.stop()
    assert wait_until("it moves", lambda: storage.is_connected() and storage.load(OID)[0])
    assert str(second.address[1]) in storage.sortKey()


def test_new_addr_ends_a_pause(world: World) -> None:
    nobody = world.stranger()
    nobody.close()
    storage = world.client(nobody.address, wait=False)
    storage.new_addr(world.server().address)
    storage.ping()


def test_new_addr_must_be_one(world: World) -> None:
    storage = world.client(world.server().address)
    with pytest.raises(ValueError, match="address"):
        storage.new_addr("")
    storage.ping()


def test_server_appears_later(world: World) -> None:
    server = world.server()
    server.stop()
    storage = world.client(server.address, wait=False)
    assert not storage.is_connected()
    call = InThread(storage.ping)
    wait_until("it waits", lambda: "wait" in call.stack)
    server.start()
    call.result()
    store(storage, OID, b"data")


def test_absent_server_of_a_database(world: World) -> None:
    """A database can be made before its server is there, and is right once it is."""
    server = world.server()
    before = DB(world.client(server.address))
    with before.transaction() as connection:
        connection.root()["key"] = "value"
    before.close()
    server.stop()
    storage = world.client(server.address, wait=False)
    opening = InThread(DB, storage)
    wait_until("it waits", lambda: "wait" in opening.stack)
    server.start()
    db = opening.result()
    world.callback(db.close)
    with db.transaction() as connection:
        assert connection.root()["key"] == "value"


# Those who are no servers.


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", ProtocolError),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ProtocolError),
        (b"\0\0\0\x02Q9", ProtocolError),
        (b"\0\0\0\x02Z4", ProtocolError),
        (b"\0\0\0\0", ProtocolError),
    ],
)
def test_another_protocol(world: World, says: bytes, expected: type[Exception]) -> None:
    stranger = world.stranger(says)
    began = time.monotonic()
    with pytest.raises(expected) as caught:
        ClientStorage(stranger.address, wait_timeout=60)
    assert time.monotonic() - began < 10
    assert str(caught.value)


def test_another_protocol_without_waiting(world: World) -> None:
    stranger = world.stranger(b"SSH-2.0-OpenSSH_9.6\r\n")
    storage = world.client(stranger.address, wait=False, wait_timeout=0.3)
    with pytest.raises(ClientStorageError):
        storage.ping()


def test_silence(world: World) -> None:
    stranger = world.stranger()
    with pytest.raises(ClientDisconnected, match="does not complete the handshake"):
        ClientStorage(stranger.address, wait_timeout=0.3)


@pytest.mark.parametrize("says", [b"", b"\0\0", b"\0\0\0\x02M5"])
def test_hangs_up_at_once(world: World, says: bytes) -> None:
    stranger = world.stranger(says, hangs_up=True)
    began = time.monotonic()
    with pytest.raises(ClientDisconnected, match="connection"):
        ClientStorage(stranger.address, wait_timeout=0.5)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 100,
        b"\0\0\0\x01\xc1",
        b"\0\0\0\x05hello",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_garbage_in_mid_session(world: World, package: str, garbage: bytes) -> None:
    server = world.server(package)
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    tid = store(storage, OID, b"data")
    proxy.hold()
    call = InThread(storage.getTid, OID)
    assert proxy.held.wait(20)
    proxy.inject(garbage)
    with pytest.raises(ClientStorageError):
        call.result()
    proxy.release()
    _found(storage)
    assert storage.getTid(OID) == tid


def test_a_database_that_fails_to_listen_ends_the_connection(world: World) -> None:
    """What was missed because of the failure is learned with the next connection."""
    server = world.server()
    storage = world.client(server.address)
    store(storage, OID, b"old")
    failed = threading.Event()
    heard: list[bytes] = []

    class Database:
        def invalidate(self, tid: bytes, oids: list[bytes]) -> None:
            if not failed.is_set():
                failed.set()
                raise MemoryError("no room for news")
            heard.extend(oids)

        def invalidateCache(self) -> None:
            heard.append(b"everything")

        def untransform_record_data(self, data: bytes) -> bytes:
            return data

        transform_record_data = untransform_record_data

    storage.registerDB(Database())
    other = world.client(server.address)
    tid = store(other, OID, b"new", other.load(OID)[1])
    assert failed.wait(20)
    wait_until("it has heard", lambda: heard)
    assert heard == [OID]
    _found(storage)
    assert storage.lastTransaction() == tid
    assert storage.load(OID) == (b"new", tid)


def test_a_storage_that_fails_to_take_note_of_a_connection(world: World) -> None:
    server = world.server()
    failures: list[Exception] = []

    class Storage(ClientStorage):
        def notify_connected(self, conn: Any, info: dict[str, Any]) -> None:
            if not failures:
                failures.append(ValueError("not now"))
                raise failures[0]
            super().notify_connected(conn, info)

    storage = Storage(server.address, wait_timeout=20)
    world.callback(storage.close)
    assert failures
    # The first connection is gone, so that nothing is heard twice.
    wait_until("there is one", lambda: storage.server_status()["connections"] == 1)
