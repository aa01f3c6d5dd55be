"""Transactions that go wrong leave nothing behind: the next one succeeds."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from transaction.interfaces import TransientError
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, StorageError
from ZODB.utils import p64, z64

from zeotwisted.exceptions import (
    ClientDisconnected,
    ClientStorageError,
    CommitInDoubt,
    ServerException,
)

from .support import InThread, Script, World, store, wait_until

OID = p64(1)
MB = 1024 * 1024

versions = pytest.mark.parametrize("limit", [5, 6])


@pytest.mark.skipif(sys.platform != "linux", reason="it limits another process")
@versions
def test_full_folder(world: World, tmp_path: Path, limit: int) -> None:
    """The daemon has a folder without room; others commit, also before that is told."""
    folder = tmp_path / "spool"
    folder.mkdir()
    server = world.server(
        "zeotwisted", f"spool-dir {folder}", f"protocol-limit {limit}", threaded=False
    )
    process = server._stop.process  # type: ignore[union-attr]
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (6 * MB, 6 * MB))
    storage, other = world.client(server.address), world.client(server.address)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for number in range(200):
        storage.store(p64(100 + number), z64, b"x" * 100_000, "", txn)
    serial = store(other, OID, b"first")
    with pytest.raises(StorageError, match=rf"kept in the server's folder {folder}: File too"):
        storage.tpc_vote(txn)
    serial = store(other, OID, b"second", serial)
    storage.tpc_abort(txn)
    store(storage, OID, b"third", serial)
    assert storage.is_connected()
    assert storage.server_status()["active_txns"] == 0


@versions
def test_extension_that_cannot_be_sent(world: World, limit: int) -> None:
    server = world.server("zeotwisted", f"protocol-limit {limit}")
    storage = world.client(server.address)
    txn = TransactionMetaData("", "", {"a": lambda: None})
    with pytest.raises(ClientStorageError, match="cannot be sent"):
        storage.tpc_begin(txn)
    storage.tpc_abort(txn)
    serial = store(storage, OID, b"one")
    store(world.client(server.address), OID, b"two", serial)


@versions
def test_conflict(world: World, limit: int) -> None:
    server = world.server("zeotwisted", f"protocol-limit {limit}")
    storage, other = world.client(server.address), world.client(server.address)
    old = store(storage, OID, b"old")
    new = store(other, OID, b"new", old)
    with pytest.raises(ConflictError):
        store(storage, OID, b"mine", old)
    store(other, OID, b"other", new)


_COMMITTER = """
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64
from zeotwisted import ClientStorage

storage = ClientStorage(ADDRESS, warm_start=False)
txn = TransactionMetaData()
storage.tpc_begin(txn)
storage.store(p64(2), z64, b"data", "", txn)
if {phase!r} == "collecting":
    storage.ping()
elif {phase!r} == "waiting":
    announce("tpc_vote")
    storage.tpc_vote(txn)
else:
    storage.tpc_vote(txn)
    print("voted", flush=True)
    sys.stdin.readline()
    storage.tpc_finish(txn)
print("there", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("phase", ["collecting", "waiting", "voted", "finishing"])
def test_client_that_is_killed(world: World, phase: str) -> None:
    server = world.server(threaded=False)
    proxy = world.proxy(server)
    storage = world.client(server.address)
    txn = TransactionMetaData()
    if phase == "waiting":
        storage.tpc_begin(txn)
        storage.tpc_vote(txn)
    script = Script(_COMMITTER.format(phase=phase), proxy.address)
    assert script.line() in ("there", "waiting", "voted")
    if phase == "waiting":
        wait_until("it is in the queue", lambda: storage.server_status()["waiting"])
    if phase == "finishing":
        proxy.hold()
        script.say()
        assert proxy.held.wait(20)
    script.process.send_signal(signal.SIGKILL)
    script.end()
    proxy.release()
    if phase == "waiting":
        storage.tpc_finish(txn)
    InThread(store, storage, OID, b"next").result()
    wait_until("nothing is left", lambda: storage.server_status()["active_txns"] == 0)


def _lost_while_finishing(
    world: World, limit: int, **options: Any
) -> tuple[Any, TransactionMetaData, InThread]:
    """Return a client that waits for a server to tell the outcome, when there is none."""
    server = world.server("zeotwisted", f"protocol-limit {limit}")
    proxy = world.proxy(server)
    storage = world.client(proxy.address, **options)
    txn = TransactionMetaData("me", "an important change")
    storage.tpc_begin(txn)
    storage.store(OID, z64, b"data", "", txn)
    storage.tpc_vote(txn)
    proxy.hold()
    finish = InThread(storage.tpc_finish, txn)
    assert proxy.held.wait(20)
    proxy.close()
    return storage, txn, finish


@versions
def test_nobody_knows(world: World, limit: int) -> None:
    _, _, finish = _lost_while_finishing(world, limit, wait_timeout=1)
    with pytest.raises(CommitInDoubt, match=r"'me'.*an important change.*no connection") as caught:
        finish.result()
    assert not isinstance(caught.value, TransientError)
    assert (caught.value.tid is None) is (limit == 5)
    assert (caught.value.user, caught.value.description) == (b"me", b"an important change")


def test_close_ends_the_search(world: World) -> None:
    storage, _, finish = _lost_while_finishing(world, 6, wait_timeout=600)
    wait_until("it looks for a server", lambda: "committed_tid" in finish.stack)
    storage.close()
    with pytest.raises(CommitInDoubt, match="closed"):
        finish.result()


def test_lost_before_finishing_is_no_doubt(world: World) -> None:
    server = world.server()
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.tpc_vote(txn)
    protocol = storage._link.connection.ready
    proxy.drop()
    wait_until("it has noticed", lambda: not protocol.is_open)
    with pytest.raises(ClientDisconnected):
        storage.tpc_finish(txn)
    store(storage, OID, b"next")


@versions
@pytest.mark.parametrize("package", ["zeotwisted", "ZEO"])
def test_applications_see_the_extension_that_they_wrote(
    world: World, package: str, limit: int
) -> None:
    options = (f"protocol-limit {limit}",) if package == "zeotwisted" else ()
    storage = world.client(world.server(package, *options).address)
    txn = TransactionMetaData("", "", {"mine": 1})
    storage.tpc_begin(txn)
    storage.store(OID, z64, b"data", "", txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    (transaction,) = storage.iterator()
    assert transaction.extension == {"mine": 1}
    for (entry,) in (storage.history(OID), storage.undoLog(), storage.undoInfo()):
        assert entry["mine"] == 1
        assert not [key for key in entry if "zeotwisted" in key]


@versions
@pytest.mark.parametrize("committed", [False, True])
def test_server_fails_to_finish(
    world: World, monkeypatch: pytest.MonkeyPatch, limit: int, committed: bool
) -> None:
    """The client finds out what became of it. A stock server holds the lock till it is gone."""
    server = world.server("zeotwisted", f"protocol-limit {limit}")
    storage = world.client(server.address)
    protocol = storage._link.connection.ready
    tpc_finish = FileStorage.tpc_finish

    def fail(self: Any, *args: Any) -> Any:
        monkeypatch.undo()
        if committed:
            tpc_finish(self, *args)
        raise OSError("the disk is broken")

    monkeypatch.setattr(FileStorage, "tpc_finish", fail)
    if committed:
        tid = store(storage, OID, b"data")
        assert storage.load(OID) == (b"data", tid)
        assert storage.lastTransaction() == tid
    else:
        with pytest.raises(ServerException, match="broken"):
            store(storage, OID, b"data")
        tid = z64
    world.failures.clear()
    assert not protocol.is_open
    InThread(store, storage, OID, b"next", tid).result()
    assert storage.load(OID)[0] == b"next"
