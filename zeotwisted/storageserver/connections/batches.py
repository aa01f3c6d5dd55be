"""Reads the log of transactions in batches, for clients that follow it."""

from __future__ import annotations

from typing import Any

from ZODB.blob import is_blob_record
from ZODB.interfaces import IBlobStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import z64

from ..storage import stored_extension
from .extent import Extent, Point
from .positions import Records, Transactions

__all__ = ["Batches"]

#: A batch ends when it has this many items, or this many bytes of records and of what transactions
#: say about themselves.
_MOST_ITEMS = 1000
_MOST_BYTES = 2**20

#: The end of a transaction in a batch.
_END = None


class Batches:
    """The transactions after `since` up to `stop`, in batches. `park` closes all files.

    A batch is a list. A transaction is an item of tid, status, user, description and stored
    extension, then one of oid, tid of the data, data and "has a blob" for each record, then None.
    It may go on in the next batch.

    :param since: a tid; eight zero bytes for the beginning.
    :param with_data: read the data. Without, no record has data or a blob.
    """

    def __init__(self, storage: Any, since: bytes, stop: bytes, with_data: bool) -> None:
        self._storage = storage
        self._stop = stop
        self._with_data = with_data
        self._transactions = Transactions(storage, since, stop)
        self._records: Records | None = None
        #: Whether `since` is in the storage.
        self.known = since == z64
        self._next = self._transactions.next()
        if self._next is not None and self._next.tid == since:
            self.known = True
            self._next = self._transactions.next()
        # The first transaction, and the last one that was begun.
        self._first = self._last = None if self._next is None else Point.of(self._next)
        self._extent: Extent | None = None

    def next(self) -> tuple[list[Any], float | None]:
        """Return the next batch, and which part was read then, from 0 to 1; None if it is all."""
        items: list[Any] = []
        size = 0
        while len(items) < _MOST_ITEMS and size < _MOST_BYTES:
            if self._records is None:
                about = self._begin()
                if about is None:
                    return items, None
                items.append(about)
                size += sum(map(len, about))
                continue
            record = self._records.next()
            if record is None:
                items.append(_END)
                self._records.park()
                self._records = None
                self._next = self._transactions.next()
            else:
                items.append(self._item(record))
                size += len(record.data or b"")
        return items, self._done()

    def _done(self) -> float:
        assert self._first is not None and self._last is not None
        if self._extent is None:
            # Not before: most who follow the log have all of it after one batch.
            self._extent = Extent(self._storage, self._first, self._stop)
        return self._extent.done(self._last)

    def _begin(self) -> tuple[bytes, Any, Any, Any, bytes] | None:
        """Begin the next transaction; return its item, or None if there is none."""
        transaction, self._next = self._next, None
        if transaction is None:
            return None
        self._last = Point.of(transaction)
        self._records = Records(self._storage, transaction.tid, self._transactions)
        return (
            transaction.tid,
            transaction.status,
            transaction.user,
            transaction.description,
            stored_extension(transaction),
        )

    def _item(self, record: Any) -> tuple[bytes, bytes | None, bytes | None, bool]:
        if not self._with_data:
            return record.oid, None, None, False
        return record.oid, record.data_txn, record.data, self._has_blob(record)

    def _has_blob(self, record: Any) -> bool:
        data = record.data
        if not data:
            return False
        if getattr(self._storage, "is_blob_record", is_blob_record)(data):
            return True
        # A record that a wrapper has compressed or encrypted begins with a dot. It may be a blob's
        # record, so look for a blob file.
        if not data.startswith(b".") or not IBlobStorage.providedBy(self._storage):
            return False
        try:
            self._storage.loadBlob(record.oid, record.tid)
        except POSKeyError:
            return False
        return True

    def park(self) -> None:
        """Close the storage's iterators until the next use."""
        if self._records is not None:
            self._records.park()
        self._transactions.park()
