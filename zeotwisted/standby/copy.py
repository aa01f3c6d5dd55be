"""Writes a primary's transactions into the storage of a standby."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ZODB.Connection import TransactionMetaData
from ZODB.interfaces import IBlobStorageRestoreable, IStorageRestoreable
from ZODB.utils import p64, u64, z64

from zeotwisted.clientstorage import ChangedTransaction
from zeotwisted.files import remove_file

__all__ = ["CannotCopy", "Copy"]

#: How many oids a promoted standby skips. Clients may still hold some that the primary gave them,
#: and the standby does not know which.
_SKIPPED_OIDS = 2**20

#: How the files of downloaded blobs begin.
_PREFIX = "standby-"


class CannotCopy(ValueError):
    """The storage cannot hold a copy; the text says why, and the remedy."""


class Copy:
    """The storage of a standby. Its methods that write are for the storage's commit thread.

    :param storage: a FileStorage, with or without a folder for blobs.
    :raises CannotCopy: it is another kind.
    """

    def __init__(self, storage: Any) -> None:
        if not IStorageRestoreable.providedBy(storage) or not hasattr(storage, "lastInvalidations"):
            raise CannotCopy("a standby needs a <filestorage>; use one in place of this storage")
        self.storage = storage
        self._takes_blobs = IBlobStorageRestoreable.providedBy(storage) and hasattr(
            storage, "fshelper"
        )
        self._blobs = os.path.join(storage.temporaryDirectory(), "") if self._takes_blobs else ""

    @property
    def path(self) -> str:
        """The storage's file."""
        return str(self.storage.getName())

    def last(self) -> bytes:
        """Return the last transaction; eight zero bytes if there is none."""
        return self.tids(1)[-1]

    def tids(self, count: int) -> list[bytes]:
        """Return the last transactions, at most `count`, oldest first.

        It is z64 alone if there is none.
        """
        return [tid for tid, _ in self.storage.lastInvalidations(count)] or [z64]

    def transactions(self, start: bytes, stop: bytes) -> Iterable[Any]:
        """Yield the transactions from `start` to `stop`."""
        iterator: Iterable[Any] = self.storage.iterator(start, stop)
        return iterator

    def blob_path(self, oid: bytes, tid: bytes) -> str:
        """Return where to download a blob to.

        :raises CannotCopy: the storage has no blobs.
        """
        if not self._takes_blobs:
            raise CannotCopy(
                "the primary has blobs, and this storage has no folder for them; add blob-dir"
            )
        os.makedirs(self._blobs, exist_ok=True)
        path = os.path.join(self._blobs, f"{_PREFIX}{oid.hex()}-{tid.hex()}")
        # It may be left over from an attempt that failed.
        remove_file(path)
        return path

    def remove_leftovers(self) -> None:
        """Remove the blobs that were downloaded and not committed when the process was killed."""
        if self._takes_blobs and os.path.isdir(self._blobs):
            for name in os.listdir(self._blobs):
                if name.startswith(_PREFIX):
                    remove_file(os.path.join(self._blobs, name))

    def write(self, transaction: ChangedTransaction, blobs: Mapping[bytes, str]) -> None:
        """Commit a transaction with its own id.

        :param blobs: the files of its blobs, by oid.
        """
        storage = self.storage
        about = TransactionMetaData(
            transaction.user, transaction.description, transaction.stored_extension
        )
        storage.tpc_begin(about, transaction.tid, transaction.status)
        try:
            for record in transaction.records or ():
                rest = (record.data, self._origin(record.data_txn), about)
                self._restore(record.oid, transaction.tid, blobs.get(record.oid), *rest)
            storage.tpc_vote(about)
            storage.tpc_finish(about)
        except BaseException:
            storage.tpc_abort(about)
            raise

    def _restore(
        self,
        oid: bytes,
        tid: bytes,
        blob: str | None,
        data: bytes | None,
        origin: bytes | None,
        about: TransactionMetaData,
    ) -> None:
        if blob is None:
            self.storage.restore(oid, tid, data, "", origin, about)
        else:
            self.storage.restoreBlob(oid, tid, data, blob, origin, about)

    def _origin(self, tid: bytes | None) -> bytes | None:
        """Return the transaction that data was copied from, if the storage still has it."""
        if tid is None or not any(self.transactions(tid, tid)):
            return None
        return tid

    def skip_oids(self) -> None:
        """Make sure that no new object gets an oid that the primary may have given to a client."""
        self.storage.set_max_oid(p64(u64(self.storage.new_oid()) + _SKIPPED_OIDS))
