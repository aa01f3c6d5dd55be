"""A storage that records behaves as without it, and the record is what happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ZODB
from persistent.mapping import PersistentMapping
from transaction import TransactionManager
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.interfaces import IMVCCStorage, IStorageUndoable
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError, POSKeyError
from ZODB.utils import maxtid, p64, z64
from zope.interface import alsoProvides

from zeotwisted.exceptions import ClientDisconnected, CommitInDoubt

from .checker import check
from .database import transactions_of
from .history import (
    Failed,
    Finished,
    Finishing,
    History,
    HistoryFile,
    Invalidated,
    InvalidatedAll,
    Noted,
    Read,
    Snapshot,
    Stored,
    digest,
    read_history,
)
from .recording import Recording, nothing, unless_in_doubt

OID = p64(1)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FileStorage]:
    storage = FileStorage(str(tmp_path / "Data.fs"))
    yield storage
    storage.close()


def commit(storage: Any, data: bytes, serial: bytes = z64) -> bytes:
    transaction = TransactionMetaData("user", "why")
    storage.tpc_begin(transaction)
    storage.store(OID, serial, data, "", transaction)
    storage.tpc_vote(transaction)
    tid: bytes = storage.tpc_finish(transaction)
    return tid


def whats(history: History) -> list[Any]:
    return [event.what for event in history.events]


def test_what_is_read_and_written_is_recorded(storage: FileStorage) -> None:
    history = History()
    recording = Recording(storage, history, "ann")
    tid = commit(recording, b"data")
    assert recording.lastTransaction() == tid
    assert recording.loadBefore(OID, maxtid) == (b"data", tid, None)
    assert recording.loadBefore(OID, tid) is None
    assert recording.loadSerial(OID, tid) == b"data"
    with pytest.raises(POSKeyError):
        recording.loadBefore(p64(2), maxtid)
    stored, _, finishing, noted, finished, snapshot, *reads, serial, none = whats(history)
    mark = stored.mark
    assert stored == Stored(mark, OID, z64, digest(b"data"))
    assert finishing == Finishing(mark)
    assert [noted, finished] == [Noted(mark, tid), Finished(mark, tid)]
    assert snapshot == Snapshot(tid)
    assert reads == [
        Read(OID, maxtid, digest(b"data"), tid, None),
        Read(OID, tid, None, None, None),
    ]
    assert serial == (OID, tid, digest(b"data"))
    assert none == Read(p64(2), maxtid, None, None, None)
    assert all(event.began <= event.ended for event in history.events)
    (transaction,) = transactions_of(storage)
    assert transaction.description.startswith(b"why ")
    assert check(history, [transaction]) == []


def test_it_has_what_the_storage_has(storage: FileStorage) -> None:
    recording: Any = Recording(storage, History(), "ann")
    assert IStorageUndoable.providedBy(recording)
    assert recording.getName() == storage.getName()
    assert len(recording) == len(storage)
    mapping = Recording(MappingStorage(), History(), "ann")
    assert not IStorageUndoable.providedBy(mapping)
    for name in ("undo", "deleteObject", "storeBlob"):
        assert hasattr(mapping, name) == hasattr(MappingStorage(), name)


def test_a_storage_with_snapshots_of_its_own_is_refused() -> None:
    storage = MappingStorage()
    alsoProvides(storage, IMVCCStorage)
    with pytest.raises(TypeError, match="snapshots of its own"):
        Recording(storage, History(), "ann")


def test_the_database_is_told_first_and_then_it_is_recorded(storage: FileStorage) -> None:
    history = History()
    told: list[Any] = []

    class Network(MappingStorage):
        def registerDB(self, db: Any) -> None:
            self.db = db

    class Database:
        references = "references"

        def invalidate(self, tid: bytes, oids: Any) -> None:
            told.append((tid, list(oids), len(history.events)))

        def invalidateCache(self) -> None:
            told.append(len(history.events))

    network = Network()
    Recording(network, history, "ann").registerDB(Database())
    network.db.invalidate(p64(5), iter([OID]))
    network.db.invalidateCache()
    assert network.db.references == "references"
    assert told == [(p64(5), [OID], 0), 1]
    assert whats(history) == [Invalidated(p64(5), (OID,)), InvalidatedAll()]


@pytest.mark.parametrize(
    ("promises", "error", "never"),
    [
        (unless_in_doubt, ClientDisconnected("gone"), True),
        (unless_in_doubt, CommitInDoubt(None, "", "", "gone"), False),
        (unless_in_doubt, KeyboardInterrupt(), False),
        (nothing, ClientDisconnected("gone"), False),
    ],
)
def test_an_error_promises_that_nothing_is_committed_or_does_not(
    promises: Any, error: BaseException, never: bool
) -> None:
    class Failing(MappingStorage):
        def tpc_finish(self, transaction: Any, func: Any = None) -> bytes:
            raise error

    history = History()
    with pytest.raises(type(error)):
        commit(Recording(Failing(), history, "ann", promises), b"data")
    failed = history.events[-1].what
    assert isinstance(failed, Failed)
    assert failed.never == never


def test_an_error_of_the_database_promises_nothing(storage: FileStorage) -> None:
    history = History()
    recording = Recording(storage, history, "ann", unless_in_doubt)
    transaction = TransactionMetaData()
    recording.tpc_begin(transaction)
    recording.store(OID, z64, b"data", "", transaction)
    recording.tpc_vote(transaction)

    def fail(tid: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        recording.tpc_finish(transaction, fail)
    failed = history.events[-1].what
    assert isinstance(failed, Failed)
    assert not failed.never


def test_a_conflict_is_a_commit_that_was_never_finished(storage: FileStorage) -> None:
    history = History()
    recording = Recording(storage, history, "ann")
    tid = commit(recording, b"1")
    commit(recording, b"2", tid)
    transaction = TransactionMetaData()
    recording.tpc_begin(transaction)
    with pytest.raises(ConflictError):
        recording.store(OID, tid, b"3", "", transaction)
        recording.tpc_vote(transaction)
    recording.tpc_abort(transaction)
    assert sum(isinstance(what, Finishing) for what in whats(history)) == 2
    assert check(history, transactions_of(storage)) == []


def test_a_transaction_that_begins_twice_keeps_its_mark(storage: FileStorage) -> None:
    history = History()
    recording = Recording(storage, history, "ann")
    transaction = TransactionMetaData()
    recording.tpc_begin(transaction)
    description = transaction.description
    with pytest.raises(Exception, match="Duplicate"):
        recording.tpc_begin(transaction)
    assert transaction.description == description
    recording.store(OID, z64, b"1", "", transaction)
    recording.tpc_vote(transaction)
    recording.tpc_finish(transaction)
    # The same object again is another transaction.
    recording.tpc_begin(transaction)
    recording.tpc_abort(transaction)
    assert transaction.description.count(b"recorded") == 1
    assert transaction.description != description
    assert check(history, transactions_of(storage)) == []


def test_copies_keep_their_descriptions(storage: FileStorage) -> None:
    history = History()
    recording = Recording(storage, history, "ann")
    transaction = TransactionMetaData("", "copied")
    recording.tpc_begin(transaction, p64(77), " ")
    recording.restore(OID, p64(77), b"data", "", None, transaction)
    recording.tpc_vote(transaction)
    recording.tpc_finish(transaction)
    assert [t.description for t in transactions_of(storage)] == [b"copied"]


def test_a_database_with_undo_and_deleted_objects(storage: FileStorage) -> None:
    history = History()
    database = ZODB.DB(Recording(storage, history, "ann"))
    manager = TransactionManager()
    connection = database.open(manager)
    root = connection.root()
    root["a"] = PersistentMapping(value=1)
    manager.commit()
    oid, serial = root["a"]._p_oid, root["a"]._p_serial
    root["a"]["value"] = 2
    manager.commit()
    database.undo(database.undoLog(0, 1)[0]["id"], manager.get())
    manager.commit()
    assert root["a"]["value"] == 1
    database.undo([entry["id"] for entry in database.undoLog(0, 3)][-1], manager.get())
    manager.commit()
    manager.begin()
    assert "a" not in root
    with pytest.raises(POSKeyError):
        database.storage.loadBefore(oid, maxtid)
    assert database.storage.loadSerial(oid, serial)
    connection.close()
    transactions = list(transactions_of(storage))
    assert transactions[-1].records[oid] is None
    assert check(history, transactions) == []
    # There was something to be checked.
    assert {type(what).__name__ for what in whats(history)} >= {"Undone", "Read", "Noted"}
    database.close()


def test_a_file_has_the_same_events(tmp_path: Path, storage: FileStorage) -> None:
    class Both(History):
        def add(self, client: str, began: int, what: Any) -> None:
            super().add(client, began, what)
            file.add(client, began, what)

    path = tmp_path / "ann"
    file = HistoryFile(path)
    both = Both()
    recording = Recording(storage, both, "ann")
    tid = commit(recording, b"data")
    recording.lastTransaction()
    recording.loadBefore(OID, tid)
    both.add("ann", 1, Invalidated(tid, (OID, p64(2))))
    file.close()
    assert whats(read_history([path])) == whats(both)
    assert [event.client for event in read_history([path]).events] == ["ann"] * 8


def test_a_last_line_that_is_not_complete_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "ann"
    file = HistoryFile(path)
    file.add("ann", file.now(), Snapshot(p64(5)))
    file.add("ann", file.now(), Snapshot(p64(6)))
    file.close()
    data = path.read_bytes()
    for cut in range(1, len(data.splitlines()[1]) + 1):
        path.write_bytes(data[:-cut])
        assert whats(read_history([path])) == [Snapshot(p64(5))]


def test_another_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ann"
    path.write_bytes(b'["ann", 1, 2, "Nonsense"]\n')
    with pytest.raises(ValueError, match="ann, line 1 is no event"):
        read_history([path])


def test_a_file_is_not_written_twice(tmp_path: Path) -> None:
    HistoryFile(tmp_path / "ann").close()
    with pytest.raises(FileExistsError):
        HistoryFile(tmp_path / "ann")
