"""The operations of a client's transaction in the storage: one method for each kind."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from ZODB.Connection import TransactionMetaData
from ZODB.interfaces import IBlobStorageRestoreable
from ZODB.POSException import (
    ConflictError,
    POSKeyError,
    ReadConflictError,
    StorageError,
    Unsupported,
)
from ZODB.utils import load_current, z64

from ..storage import (
    LeftToClient,
    ensure_blob_folder,
    ensure_temporary_folder,
    names_its_class_plainly,
)
from .commitlog import CommitLog

__all__ = ["Operations"]


#: The operations that may have conflicts. Their arguments begin with oid, serial, and data.
_STORES = frozenset({"store", "storeBlob"})


class Operations:
    """Runs the entries of a commit log in the storage, and keeps the results.

    Each public method is an operation. It runs in the thread of the vote.

    :param leaves_conflicts: whether the client may have to resolve conflicts.
    :param leaves_all: whether it has to resolve all of them.
    :param unpickles: see `Engine`.
    """

    #: Operations that are so fast that they may run in the reactor's thread.
    QUICK = frozenset({"store", "deleteObject", "checkCurrentSerialInTransaction"})

    def __init__(
        self,
        storage: Any,
        transaction: TransactionMetaData,
        leaves_conflicts: bool,
        leaves_all: bool,
        unpickles: bool = True,
    ) -> None:
        self._storage = storage
        self._transaction = transaction
        self._leaves_conflicts = leaves_conflicts
        self._leaves_all = leaves_all
        self._checks_odd = leaves_conflicts and unpickles
        #: The oids to invalidate in the caches of the other clients.
        self.changed: list[bytes] = []
        #: The oids whose stored data differs from the data that the client sent.
        self.resolved: list[bytes] = []
        #: The objects that an undo has changed. Their clients have to load them again, too.
        self.undone: list[bytes] = []
        #: Conflicts for the client to resolve, by oid.
        self.conflicts: dict[bytes, dict[str, Any]] = {}

    def store(self, oid: bytes, serial: bytes | None, data: bytes) -> None:
        try:
            self._check_odd(oid, serial, data)
            self._storage.store(oid, serial, data, "", self._transaction)
        except ConflictError as error:
            self._conflict(oid, error, data)
        else:
            self._stored(oid)

    def storeBlob(self, oid: bytes, serial: bytes | None, data: bytes, filename: str) -> None:
        if not os.path.exists(filename):
            raise StorageError(
                f"the blob that was sent is not in the server's folder {os.path.dirname(filename)} "
                "any more; nothing may remove files from there, for example a cleaner of temporary "
                "files"
            )
        if self._leaves_conflicts:
            # The storage moves the file that it gets, so give it a link. The next vote needs the
            # file again, if the client has to resolve a conflict.
            original, filename = filename, filename + ".taken"
            os.link(original, filename)
        try:
            self._check_odd(oid, serial, data)
            ensure_blob_folder(self._storage, oid)
            self._storage.storeBlob(oid, serial, data, filename, "", self._transaction)
        except ConflictError as error:
            self._conflict(oid, error, data)
        else:
            self._stored(oid)
        finally:
            if self._leaves_conflicts:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(filename)

    def restore(
        self, oid: bytes, serial: bytes, data: bytes | None, prev_txn: bytes | None
    ) -> None:
        if not hasattr(self._storage, "restore"):
            raise self._cannot("restore transactions of other databases")
        self._storage.restore(oid, serial, data, "", prev_txn, self._transaction)
        self.changed.append(oid)

    def restoreBlob(
        self, oid: bytes, serial: bytes, data: bytes, prev_txn: bytes | None, filename: str
    ) -> None:
        if not IBlobStorageRestoreable.providedBy(self._storage):
            raise self._cannot("restore blobs of other databases")
        ensure_blob_folder(self._storage, oid)
        self._storage.restoreBlob(oid, serial, data, filename, prev_txn, self._transaction)
        self.changed.append(oid)

    def _cannot(self, what: str) -> Unsupported:
        return Unsupported(f"the served storage, a {type(self._storage).__name__}, cannot {what}")

    def deleteObject(self, oid: bytes, serial: bytes) -> None:
        self._storage.deleteObject(oid, serial, self._transaction)
        self.changed.append(oid)

    def checkCurrentSerialInTransaction(self, oid: bytes, serial: bytes) -> None:
        self._storage.checkCurrentSerialInTransaction(oid, serial, self._transaction)

    def undo(self, transaction_id: bytes) -> None:
        # The storage copies the earlier content of a blob to that folder.
        ensure_temporary_folder(self._storage)
        told = self._storage.undo(transaction_id, self._transaction)
        # RelStorage tells the oids with the vote.
        if told is not None:
            _, oids = told
            self.changed.extend(oids)
            self.undone.extend(oids)

    def tpc_vote(self) -> None:
        self.resolved.extend(self._storage.tpc_vote(self._transaction) or ())
        known = set(self.changed)
        self.changed.extend(oid for oid in self.resolved if oid not in known)

    def may_be_conflict(self, error: BaseException, is_shared: bool) -> bool:
        """Return whether a vote may have failed by conflicts that the client has to resolve.

        RelStorage raises several exceptions then, because it looks for what its own application
        would have loaded before.
        """
        if isinstance(error, ReadConflictError):
            return False
        if isinstance(error, ConflictError):
            return is_shared or self._is_for_client(error)
        return is_shared and isinstance(error, StorageError)

    def find_conflicts(self, storage: Any, commit_log: CommitLog) -> None:
        """Put the objects into `conflicts` that have changed since the client has loaded them.

        :param storage: shows the present revisions.
        """
        serials = {args[0]: args[1] or z64 for name, args in commit_log if name in _STORES}
        current = {oid: _current_serial(storage, oid) for oid in serials}
        for name, args in commit_log:
            if name in _STORES and current[args[0]] not in (z64, serials[args[0]]):
                oid, _, data = args[:3]
                self._add_conflict(oid, (current[oid], serials[oid]), data)

    def _stored(self, oid: bytes) -> None:
        # If an earlier entry for this oid had a conflict, this entry is the client's resolution.
        if self.conflicts:
            self.conflicts.pop(oid, None)
        self.changed.append(oid)

    def _check_odd(self, oid: bytes, serial: bytes | None, data: bytes) -> None:
        """Find a conflict of a record that does not begin as those of ZODB do.

        If the storage found it, ZODB's `ConflictError` would load the record as a pickle.
        """
        if not self._checks_odd or names_its_class_plainly(data):
            return
        try:
            _, current = load_current(self._storage, oid)
        except POSKeyError:
            return
        if current != (serial or z64):
            # The exception that the storage would have raised, without the record.
            resolves = hasattr(self._storage, "tryToResolveConflict")
            kind = LeftToClient if resolves else ConflictError
            raise kind(oid=oid, serials=(current, serial))

    def _is_for_client(self, error: ConflictError) -> bool:
        return bool(error.serials) and (self._leaves_all or isinstance(error, LeftToClient))

    def _conflict(self, oid: bytes, error: ConflictError, data: bytes) -> None:
        if not self._is_for_client(error):
            raise error
        self._add_conflict(oid, error.serials, data)

    def _add_conflict(self, oid: bytes, serials: tuple[bytes, bytes], data: bytes) -> None:
        self.conflicts[oid] = {"oid": oid, "serials": serials, "data": data}


def _current_serial(storage: Any, oid: bytes) -> bytes:
    try:
        serial: bytes = load_current(storage, oid)[1]
    except POSKeyError:
        return z64
    return serial
