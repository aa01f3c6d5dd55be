"""A storage that records what its user sees and does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ZODB.interfaces import IMVCCStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, z64
from zope.interface import directlyProvides, providedBy

from zeotwisted.clientstorage import ClientStorage
from zeotwisted.exceptions import CommitInDoubt

from .database import with_mark
from .history import (
    Cached,
    Checked,
    Failed,
    Finished,
    Finishing,
    Invalidated,
    InvalidatedAll,
    Noted,
    Notes,
    Read,
    ReadSerial,
    Snapshot,
    Stored,
    Undone,
    Voted,
    digest,
)

__all__ = ["Recording", "nothing", "promises_of", "unless_in_doubt"]


def nothing(error: BaseException) -> bool:
    """An exception of `tpc_finish` promises nothing, for example with ZEO's clients."""
    return False


def unless_in_doubt(error: BaseException) -> bool:
    """It promises that the transaction is not committed, unless it says that this is not known."""
    return isinstance(error, Exception) and not isinstance(error, CommitInDoubt)


def promises_of(storage: Any) -> Callable[[BaseException], bool]:
    """Return what the exceptions of a storage's `tpc_finish` promise."""
    return unless_in_doubt if isinstance(storage, ClientStorage) else nothing


class Recording:
    """Passes all calls to a storage, and records those that the checker understands.

    It takes no lock, so threads and greenlets do what they do without it. It puts a mark into the
    description of each transaction, by which the checker finds it. A transaction with a given tid
    comes from another database, and is not recorded.

    :param storage: any storage that ``ZODB.DB`` can use, but for those with snapshots of their own.
    :param client: a name that no other client of the same database has.
    :param promises: whether an exception of the storage's `tpc_finish` promises that the
        transaction is not committed: `nothing` or `unless_in_doubt`; by default, what `promises_of`
        says.
    """

    def __init__(
        self,
        storage: Any,
        history: Notes,
        client: str,
        promises: Callable[[BaseException], bool] | None = None,
    ) -> None:
        if IMVCCStorage.providedBy(storage):
            raise TypeError("the storage has snapshots of its own, which cannot be recorded")
        self._storage = storage
        self._history = history
        self._client = client
        self._promises = promises or promises_of(storage)
        # The transactions between `tpc_begin` and their end, by the id of the caller's object.
        self._begun: dict[int, tuple[Any, str]] = {}
        directlyProvides(self, providedBy(storage))

    def __getattr__(self, name: str) -> Any:
        # What is not there in the storage is not here either.
        method = getattr(self._storage, name)
        record = _OPTIONAL.get(name)
        return method if record is None else partial(record, self)

    def __len__(self) -> int:
        return len(self._storage)

    def _add(self, began: int, what: Any) -> None:
        self._history.add(self._client, began, what)

    # What is seen.

    def lastTransaction(self) -> bytes:
        began = self._history.now()
        tid: bytes = self._storage.lastTransaction()
        self._add(began, Snapshot(tid))
        return tid

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        began = self._history.now()
        try:
            found = self._storage.loadBefore(oid, tid)
        except POSKeyError:
            self._add(began, Read(oid, tid, None, None, None))
            raise
        data, serial, end = found or (None, None, None)
        self._add(began, Read(oid, tid, None if data is None else digest(data), serial, end))
        return found

    def record_cached(self, oids: Iterable[bytes], tids: Iterable[bytes]) -> None:
        """Record what the cache of a `ClientStorage` has of some objects: now, and before tids."""
        coherence, cache = self._storage._coherence, self._storage._cache
        # As a whole: between two transactions.
        with coherence._lock:
            last = cache.getLastTid()
            for oid in oids:
                for tid in (maxtid, *tids):
                    found = cache.loadBefore(oid, tid)
                    while found is not None:
                        data, serial, end = found
                        what = Cached(last, oid, serial, end, digest(data))
                        self._add(self._history.now(), what)
                        found = cache.loadBefore(oid, serial)

    def _load(self, oid: bytes, version: str = "") -> tuple[bytes, bytes]:
        began = self._history.now()
        try:
            data, serial = self._storage.load(oid, version)
        except POSKeyError:
            self._add(began, Read(oid, maxtid, None, None, None))
            raise
        self._add(began, Read(oid, maxtid, digest(data), serial, None))
        return data, serial

    def _load_serial(self, oid: bytes, serial: bytes) -> bytes:
        began = self._history.now()
        data: bytes = self._storage.loadSerial(oid, serial)
        self._add(began, ReadSerial(oid, serial, digest(data)))
        return data

    def _register(self, db: Any) -> None:
        self._storage.registerDB(_Listener(db, self._history, self._client))

    # What is done.

    def tpc_begin(
        self, transaction: Any, tid: bytes | None = None, status: str = " ", **others: Any
    ) -> None:
        if tid is not None:
            self._storage.tpc_begin(transaction, tid, status, **others)
            return
        mark = f"{self._client} {self._history.now()}"
        original = transaction.description
        transaction.description = with_mark(original, mark)
        try:
            self._storage.tpc_begin(transaction, **others)
        except BaseException:
            # It may have begun before, with the mark that it had then.
            transaction.description = original
            raise
        self._begun[id(transaction)] = transaction, mark

    def _mark(self, transaction: Any) -> str | None:
        return self._begun.get(id(transaction), (None, None))[1]

    def store(
        self, oid: bytes, serial: bytes | None, data: bytes, version: str, transaction: Any
    ) -> Any:
        result = self._storage.store(oid, serial, data, version, transaction)
        self._stored(transaction, oid, serial, digest(data))
        return result

    def _store_blob(
        self,
        oid: bytes,
        serial: bytes | None,
        data: bytes,
        blobfilename: str,
        version: str,
        transaction: Any,
    ) -> Any:
        result = self._storage.storeBlob(oid, serial, data, blobfilename, version, transaction)
        self._stored(transaction, oid, serial, digest(data))
        return result

    def _delete(self, oid: bytes, serial: bytes, transaction: Any) -> None:
        self._storage.deleteObject(oid, serial, transaction)
        self._stored(transaction, oid, serial, None)

    def _stored(
        self, transaction: Any, oid: bytes, serial: bytes | None, data: bytes | None
    ) -> None:
        mark = self._mark(transaction)
        if mark is not None:
            self._add(self._history.now(), Stored(mark, oid, serial or z64, data))

    def _check(self, oid: bytes, serial: bytes, transaction: Any) -> None:
        self._storage.checkCurrentSerialInTransaction(oid, serial, transaction)
        mark = self._mark(transaction)
        if mark is not None:
            self._add(self._history.now(), Checked(mark, oid, serial))

    def _undo(self, transaction_id: bytes, transaction: Any) -> Any:
        result = self._storage.undo(transaction_id, transaction)
        mark = self._mark(transaction)
        if mark is not None:
            self._add(self._history.now(), Undone(mark, transaction_id))
        return result

    def tpc_vote(self, transaction: Any) -> Any:
        began = self._history.now()
        resolved = self._storage.tpc_vote(transaction)
        mark = self._mark(transaction)
        if mark is not None:
            self._add(began, Voted(mark, tuple(resolved or ())))
        return resolved

    def tpc_finish(self, transaction: Any, func: Callable[[bytes], Any] | None = None) -> Any:
        mark = self._mark(transaction)
        if mark is None:
            return self._storage.tpc_finish(transaction, func or (lambda tid: None))
        began = self._history.now()
        told: list[bytes] = []

        def note(tid: bytes) -> None:
            called = self._history.now()
            told.append(tid)
            if func is not None:
                func(tid)
            self._add(called, Noted(mark, tid))

        # Recorded first: if this process is killed now, the transaction may be committed.
        self._add(began, Finishing(mark))
        try:
            tid = self._storage.tpc_finish(transaction, note)
        except BaseException as error:
            # The exception may be that of `func`, which knows nothing of the outcome.
            never = not told and self._promises(error)
            self._add(began, Failed(mark, repr(error), never))
            raise
        self._add(began, Finished(mark, tid))
        self._begun.pop(id(transaction), None)
        return tid

    def tpc_abort(self, transaction: Any, *args: Any, **kwargs: Any) -> None:
        try:
            self._storage.tpc_abort(transaction, *args, **kwargs)
        finally:
            self._begun.pop(id(transaction), None)


#: Methods that not every storage has.
_OPTIONAL: dict[str, Any] = {
    "load": Recording._load,
    "loadSerial": Recording._load_serial,
    "registerDB": Recording._register,
    "storeBlob": Recording._store_blob,
    "deleteObject": Recording._delete,
    "checkCurrentSerialInTransaction": Recording._check,
    "undo": Recording._undo,
}


class _Listener:
    """The database, as the storage sees it. It records what the database has been told."""

    def __init__(self, db: Any, history: Notes, client: str) -> None:
        self._db = db
        self._history = history
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def invalidate(self, tid: bytes, oids: Any) -> None:
        began = self._history.now()
        oids = list(oids)
        self._db.invalidate(tid, oids)
        self._history.add(self._client, began, Invalidated(tid, tuple(oids)))

    def invalidateCache(self) -> None:
        began = self._history.now()
        self._db.invalidateCache()
        self._history.add(self._client, began, InvalidatedAll())
