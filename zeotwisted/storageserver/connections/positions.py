"""Positions in the log of transactions: iterators that can be closed and opened again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from ZODB.POSException import StorageError
from ZODB.utils import p64, u64

__all__ = ["Records", "Transactions"]


def _close(iterator: Any) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


class Transactions:
    """Iterates over transactions. `park` closes the storage's iterator, and `next` reopens it."""

    __slots__ = ("_start", "_stop", "_storage", "current", "iterator")

    def __init__(self, storage: Any, start: bytes | None, stop: bytes | None) -> None:
        self._storage = storage
        self._start = start
        self._stop = stop
        #: The storage's iterator; None while it is parked.
        self.iterator: Iterator[Any] | None = iter(storage.iterator(start, stop))
        #: The transaction that the storage's iterator returned last; None while it is parked.
        self.current: Any = None

    def next(self) -> Any:
        """Return the next transaction, or None at the end."""
        if self.iterator is None:
            self.iterator = iter(self._storage.iterator(self._start, self._stop))
        transaction = next(self.iterator, None)
        self.current = transaction
        if transaction is not None:
            self._start = p64(u64(transaction.tid) + 1)
        return transaction

    def park(self) -> None:
        """Close the storage's iterator until the next use."""
        iterator, self.iterator = self.iterator, None
        self.current = None
        _close(iterator)


class Records:
    """Iterates over the records of a transaction. `park` closes it, and `next` reopens it."""

    __slots__ = ("_count", "_last", "_lent", "_owner", "_records", "_source", "_storage", "_tid")

    def __init__(self, storage: Any, tid: bytes, owner: Transactions | None) -> None:
        self._storage = storage
        self._tid = tid
        self._count = 0
        self._last: bytes | None = None
        self._source: Any = None
        self._records: Iterator[Any] | None = None
        # A storage may have to search for a transaction. To avoid this, use the iterator that has
        # just returned the transaction, while that iterator is open.
        self._owner: Transactions | None = None
        self._lent: Any = None
        if owner is not None and owner.current is not None and owner.current.tid == tid:
            self._owner = owner
            self._lent = owner.iterator
            self._records = iter(owner.current)
        else:
            self._open()

    def _open(self) -> None:
        self._source = iter(self._storage.iterator(self._tid, self._tid))
        transaction = next(self._source, None)
        if transaction is None:
            self.park()
            raise StorageError("the transaction is not there any more")
        self._records = iter(transaction)
        last = None
        for record in itertools.islice(self._records, self._count):
            last = record.oid
        if last != self._last:
            self.park()
            raise StorageError("a pack has removed records of the transaction meanwhile")

    def next(self) -> Any:
        """Return the next record, or None at the end."""
        if self._owner is not None and self._owner.iterator is not self._lent:
            self.park()
        if self._records is None:
            self._open()
        assert self._records is not None
        record = next(self._records, None)
        if record is not None:
            self._count += 1
            self._last = record.oid
        return record

    def park(self) -> None:
        """Close the storage's iterators until the next use."""
        self._owner = self._lent = None
        records, self._records = self._records, None
        source, self._source = self._source, None
        _close(records)
        _close(source)
