"""What a `ClientStorage` takes, provides and answers, and how it ends."""

from __future__ import annotations

import gc
import inspect
import os
import threading
import time
from typing import Any

import pytest
import ZEO.ClientStorage
from ZODB import interfaces
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import POSKeyError, ReadOnlyError, StorageTransactionError
from ZODB.utils import maxtid, p64, z64

import zeotwisted
from zeotwisted import ClientStorage
from zeotwisted.exceptions import ClientDisconnected, ClientStorageError

from .support import InThread, World, store, wait_until

OID = p64(1)


# The constructor.


def test_signature() -> None:
    ours = dict(inspect.signature(ClientStorage).parameters)
    theirs = dict(inspect.signature(ZEO.ClientStorage.ClientStorage).parameters)
    # In ZEO's order; what is ours comes after it.
    assert list(ours)[: len(theirs)] == list(theirs)
    for name, parameter in theirs.items():
        if name != "_client_factory":
            assert (ours[name].kind, ours[name].default) == (parameter.kind, parameter.default)


@pytest.mark.parametrize(
    "argument",
    [
        {"_client_factory": object},
    ],
    ids=lambda argument: next(iter(argument)),
)
def test_not_yet(argument: dict[str, Any]) -> None:
    (name,) = argument
    with pytest.raises(NotImplementedError, match=f"{name}: .* not supported yet"):
        ClientStorage(("127.0.0.1", 1), **argument)


@pytest.mark.parametrize("addr", ["", [], 0, ("host", 0), ("host", 70000), None, ("a", 1.5)])
def test_no_address(addr: Any) -> None:
    with pytest.raises(ValueError, match="address"):
        ClientStorage(addr)


def test_addresses(world: World) -> None:
    host, port = world.server().address
    for addr in (port, (host, port), [(host, port)], ("", port), ("localhost", port), [port]):
        assert world.client(addr).is_connected(), addr


def test_unix_address(world: World, tmp_path: Any) -> None:
    path = str(tmp_path / "socket")
    storage = world.client(world.server(address=path).address)
    assert storage.is_connected()
    assert storage.getName() == f"{path} (connected)"
    assert path in storage.sortKey()


def test_arguments_without_effect(world: World) -> None:
    world.client(
        world.server().address,
        disconnect_poll=1,
        min_disconnect_poll=2,
        max_disconnect_poll=3,
        drop_cache_rather_verify=False,
        credentials="c",
        username="u",
        password="p",
        realm="r",
        blob_cache_size_check=5,
    )


def test_name_and_storage(world: World) -> None:
    sections = "".join(f"<mappingstorage {name}>\n</mappingstorage>\n" for name in "ab")
    server = world.server(storage=sections)
    a = world.client(server.address, storage="a", name="first")
    b = world.client(server.address, storage="b")
    assert a.getName() == "first (connected)"
    assert a.__name__ == "first"
    assert b.getName() == f"{server.address} (connected)"
    # A port is that of an address.
    port = world.client(server.address[1], storage="b")
    assert port.getName() == f"{server.address} (connected)"
    store(a, OID, b"a")
    with pytest.raises(POSKeyError):
        b.load(OID)
    assert a.sortKey().startswith("a:")
    assert b.sortKey().startswith("b:")


def test_unknown_storage_fails_at_once(world: World) -> None:
    server = world.server()
    began = time.monotonic()
    with pytest.raises(ClientDisconnected, match=r"unknown storage: 'x'.*has '1'"):
        world.client(server.address, storage="x", wait_timeout=60)
    assert time.monotonic() - began < 10


def test_cache_size(world: World) -> None:
    server = world.server()
    storage = world.client(server.address, cache_size=10_000)
    store(storage, OID, b"x" * 20_000)
    assert storage.load(OID)[0] == b"x" * 20_000
    assert storage._cache.used == 0
    store(storage, p64(2), b"y" * 2_000)
    assert 2_000 < storage._cache.used < 10_000


def test_read_only(world: World) -> None:
    server = world.server()
    writer = world.client(server.address)
    store(writer, OID, b"data")
    reader = world.client(server.address, read_only=True)
    assert reader.isReadOnly() and reader.is_read_only() and not writer.isReadOnly()
    assert reader.load(OID)[0] == b"data"
    txn = TransactionMetaData()
    for write in (
        lambda: reader.tpc_begin(txn),
        reader.new_oid,
        lambda: reader.store(OID, z64, b"", "", txn),
        lambda: reader.deleteObject(OID, z64, txn),
        lambda: reader.undo(z64, txn),
        lambda: reader.tpc_vote(txn),
        lambda: reader.tpc_finish(txn),
    ):
        with pytest.raises(ReadOnlyError):
            write()
    reader.tpc_abort(txn)


def test_writer_of_read_only_server(world: World, package: str) -> None:
    data = world.server()
    store(world.client(data.address), OID, b"data")
    data.stop()
    server = world.server(
        package,
        "read-only true",
        storage=f"<filestorage>\n path {data.data_fs}\n read-only true\n</filestorage>\n",
    )
    with pytest.raises(ClientDisconnected, match="read_only=True"):
        world.client(server.address)
    assert world.client(server.address, read_only=True).load(OID)[0] == b"data"


def test_wait_timeout(world: World) -> None:
    nobody = world.stranger()
    nobody.close()
    began = time.monotonic()
    with pytest.raises(ClientDisconnected, match=r"within 0\.3 seconds"):
        ClientStorage(nobody.address, wait_timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 5


def test_client_label(world: World) -> None:
    from twisted.logger import globalLogPublisher

    server = world.server()
    storage = world.client(server.address, client_label="instance seven")
    lines: list[str] = []
    logged = lines.append
    globalLogPublisher.addObserver(lambda event: logged(str(event.get("label"))))
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(OID, z64, b"data", "", txn)
    storage.ping()
    storage.close()
    wait_until("the server has noticed", lambda: any("instance seven" in line for line in lines))


def test_server_sync(world: World) -> None:
    # ZEO's server may answer before it has told what it has committed.
    server = world.server()
    writer = world.client(server.address)
    reader = world.client(server.address, server_sync=True)
    for number in range(200):
        tid = store(writer, p64(number), b"data")
        reader.sync()
        assert reader.lastTransaction() == tid


def test_without_server_sync_nothing_is_asked(world: World) -> None:
    proxy = world.proxy(world.server())
    storage = world.client(proxy.address)
    proxy.hold()
    InThread(storage.sync).result()


# What it provides.


FILE = """<filestorage>
 path {path}
</filestorage>
"""
BACKENDS = {
    "filestorage": FILE,
    "mappingstorage": "<mappingstorage>\n</mappingstorage>\n",
    "demostorage": f"<demostorage>\n{FILE}</demostorage>\n",
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_interfaces(world: World, package: str, backend: str, tmp_path: Any) -> None:
    section = BACKENDS[backend].format(path=tmp_path / "Backend.fs")
    server = world.server(package, storage=section)
    ours = world.client(server.address)
    theirs = ZEO.ClientStorage.ClientStorage(server.address)
    world.callback(theirs.close)
    for interface in (
        interfaces.IStorage,
        interfaces.IMultiCommitStorage,
        interfaces.IStorageRestoreable,
        interfaces.IStorageIteration,
        interfaces.IStorageUndoable,
        interfaces.IStorageCurrentRecordIteration,
        interfaces.IExternalGC,
    ):
        assert interface.providedBy(ours) == interface.providedBy(theirs), interface
    assert ours.supportsUndo() == theirs.supportsUndo() == (backend == "filestorage")


def test_methods() -> None:
    """All that ZEO's storage can do, except what belongs to blobs in parts, can be asked for."""
    theirs = {name for name in dir(ZEO.ClientStorage.ClientStorage) if not name.startswith("_")}
    inner = {
        "receiveBlobStart",
        "receiveBlobChunk",
        "receiveBlobStop",
        "set_server_addr",
        "tpc_end",
    }
    assert theirs - inner - set(dir(ClientStorage)) == set()


# Before, without and after a connection.

#: What needs a server, and works with one that has OID.
CALLS: dict[str, Any] = {
    "load": lambda storage: storage.load(p64(99)),
    "loadBefore": lambda storage: storage.loadBefore(p64(99), maxtid),
    "loadSerial": lambda storage: storage.loadSerial(OID, z64),
    "getTid": lambda storage: storage.getTid(OID),
    "history": lambda storage: storage.history(OID),
    "new_oid": lambda storage: storage.new_oid(),
    "pack": lambda storage: storage.pack(),
    "ping": lambda storage: storage.ping(),
    "prefetch": lambda storage: storage.prefetch([p64(99)], maxtid),
    "record_iternext": lambda storage: storage.record_iternext(),
    "iterator": lambda storage: storage.iterator(),
    "undoLog": lambda storage: storage.undoLog(),
    "undoInfo": lambda storage: storage.undoInfo(),
    "server_status": lambda storage: storage.server_status(),
    "server_limits": lambda storage: storage.server_limits(),
    "steer": lambda storage: storage.steer("server_clients"),
    "tpc_begin": lambda storage: storage.tpc_begin(TransactionMetaData()),
    "copyTransactionsFrom": lambda storage: storage.copyTransactionsFrom(storage),
    "sortKey": lambda storage: storage.sortKey(),
    "lastTransaction": lambda storage: storage.lastTransaction(),
}


@pytest.mark.parametrize("call", CALLS)
def test_before_the_first_connection(world: World, call: str) -> None:
    nobody = world.stranger()
    nobody.close()
    storage = world.client(nobody.address, wait=False, wait_timeout=0.05)
    with pytest.raises(ClientDisconnected):
        CALLS[call](storage)


def test_facts_before_the_first_connection(world: World) -> None:
    nobody = world.stranger()
    nobody.close()
    storage = world.client(nobody.address, wait=False, wait_timeout=0.05, name="n")
    assert not storage.is_connected()
    assert storage.getName() == "n (disconnected)"
    assert len(storage) == storage.getSize() == 0
    assert storage.supportsUndo() is False
    assert storage.tpc_transaction() is None
    assert storage.undoLog(filter=lambda entry: True) == []
    storage.sync()
    txn = TransactionMetaData()
    storage.tpc_abort(txn)
    with pytest.raises(StorageTransactionError):
        storage.store(OID, z64, b"", "", txn)


def test_after_close(world: World) -> None:
    server = world.server()
    storage = world.client(server.address, name="n", wait_timeout=60)
    tid = store(storage, OID, b"data")
    sort_key = storage.sortKey()
    storage.close()
    storage.close()
    began = time.monotonic()
    for name, call in CALLS.items():
        if name not in ("sortKey", "lastTransaction"):
            with pytest.raises(ClientDisconnected):
                call(storage)
    assert time.monotonic() - began < 5
    assert not storage.is_connected()
    assert storage.getName() == "n (disconnected)"
    assert storage.lastTransaction() == tid
    assert storage.sortKey() == sort_key
    assert isinstance(len(storage), int) and storage.getSize() > 0


def test_calls_after_close_in_any_thread(world: World) -> None:
    """The number of the reactor's thread may have become the number of another thread."""
    server = world.server()
    for _ in range(5):
        storage = world.client(server.address)
        storage.close()
        for _ in range(3):
            with pytest.raises(ClientDisconnected):
                InThread(storage.load, OID).result()


def test_close_while_others_wait(world: World) -> None:
    server = world.server()
    proxy = world.proxy(server)
    other = world.client(server.address)
    storage = world.client(proxy.address)
    store(other, OID, b"data")
    txn, later = TransactionMetaData(), TransactionMetaData()
    held = TransactionMetaData()
    # The commit lock is another client's, so that the vote has to wait.
    other.tpc_begin(held)
    other.store(p64(2), z64, b"data", "", held)
    other.tpc_vote(held)
    storage.tpc_begin(txn)
    storage.store(p64(3), z64, b"data", "", txn)
    vote = InThread(storage.tpc_vote, txn)
    wait_until("the vote waits", lambda: other.server_status()["waiting"])
    begin = InThread(storage.tpc_begin, later)
    wait_until("tpc_begin waits", lambda: "enter" in begin.stack)
    proxy.hold()
    load = InThread(storage.load, OID)
    assert proxy.held.wait(20)
    storage.close()
    for call in (vote, begin, load):
        with pytest.raises(ClientDisconnected):
            call.result(5)
    other.tpc_finish(held)
    wait_until("the lock is free", lambda: other.server_status()["lock_time"] is None)


def test_close_while_others_wait_for_a_connection(world: World) -> None:
    stranger = world.stranger()
    storage = world.client(stranger.address, wait=False, wait_timeout=60)
    load = InThread(storage.load, OID)
    wait_until("the load waits", lambda: "wait" in load.stack)
    storage.close()
    with pytest.raises(ClientDisconnected, match="closed"):
        load.result(5)


def test_nothing_leaks(world: World) -> None:
    server = world.server(threaded=False)

    def count() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    world.client(server.address).close()
    gc.collect()
    before = count()
    gc.disable()
    try:
        for _ in range(50):
            ClientStorage(server.address).close()
        # What earlier tests have left may end meanwhile.
        assert all(now <= then for now, then in zip(count(), before, strict=True))
    finally:
        gc.enable()


def test_failed_attempts_leak_nothing(world: World) -> None:
    stranger = world.stranger(b"SSH-2.0-OpenSSH_9.6\r\n")
    gc.collect()
    threads = threading.active_count()
    for _ in range(5):
        with pytest.raises(ClientStorageError):
            ClientStorage(stranger.address)
    assert threading.active_count() == threads


def test_two_storages_share_a_thread(world: World) -> None:
    server = world.server(threaded=False)
    before = threading.active_count()
    first = world.client(server.address)
    second = world.client(server.address)
    assert threading.active_count() == before + 1
    first.close()
    store(second, OID, b"data")
    second.close()
    assert threading.active_count() == before


def test_convenience_functions(world: World) -> None:
    server = world.server()
    connection = zeotwisted.connection(server.address)
    connection.root()["key"] = 1
    connection.transaction_manager.commit()
    connection.close()
    database = zeotwisted.DB(server.address)
    with database.transaction() as connection:
        assert connection.root()["key"] == 1
    database.close()
    storage = zeotwisted.client(server.address)
    assert type(storage) is ClientStorage
    storage.close()


def test_sizes_follow_the_commits_of_others(world: World, package: str) -> None:
    server = world.server(package)
    writer, reader = world.client(server.address), world.client(server.address)
    before = len(reader), reader.getSize()
    for number in range(1, 4):
        tid = store(writer, p64(number), b"x" * 1000)
        wait_until("the news", lambda tid=tid: reader.lastTransaction() == tid)
        assert len(reader) == len(writer) == before[0] + number
        assert reader.getSize() == writer.getSize() >= before[1] + number * 1000
    # Nothing has happened since, and nobody is asked.
    server.stop()
    assert len(reader) == before[0] + 3


def test_sizes_do_not_wait_for_a_server_that_is_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zeotwisted.clientstorage.connection.link._INFO_TIMEOUT", 0.05)
    server = world.server()
    proxy = world.proxy(server)
    writer, storage = world.client(server.address), world.client(proxy.address)
    before = len(storage)
    tid = store(writer, OID, b"data")
    wait_until("the news", lambda: storage.lastTransaction() == tid)
    proxy.hold()
    assert len(storage) == before
    proxy.release()
    wait_until("the new size", lambda: len(storage) == before + 1)
