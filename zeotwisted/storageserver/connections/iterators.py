"""The iterators over transactions that a client holds on the server.

A client reports late, or never, that it does not use an iterator any more. So only a few iterators
are open. For the others only the position is kept; they are opened again when they are used.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from ZODB.POSException import StorageError
from ZODB.utils import p64, u64

from ..limits import IteratorCount, LimitReached
from ..storage import stored_extension

__all__ = ["Iterators"]


def _close(iterator: Any) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


class _Transactions:
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


class _Records:
    """Iterates over the records of a transaction. `park` closes it, and `next` reopens it."""

    __slots__ = ("_count", "_last", "_lent", "_owner", "_records", "_source", "_storage", "_tid")

    def __init__(self, storage: Any, tid: bytes, owner: _Transactions | None) -> None:
        self._storage = storage
        self._tid = tid
        self._count = 0
        self._last: bytes | None = None
        self._source: Any = None
        self._records: Iterator[Any] | None = None
        # A storage may have to search for a transaction. To avoid this, use the iterator that has
        # just returned the transaction, while that iterator is open.
        self._owner: _Transactions | None = None
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


#: How many iterators a client may have if there are no limits.
_ANY = IteratorCount(20, 10_000)


class Iterators:
    """One client's iterators, by number. Do not call its methods concurrently.

    :ivar most: how many there may be.
    """

    def __init__(self, storage: Any) -> None:
        self.most = _ANY
        self._storage = storage
        self._numbers = itertools.count()
        self._iterators: dict[int, _Transactions | _Records] = {}
        # The numbers of the iterators that may be open. The one that was used last is at the end.
        self._open: OrderedDict[int, None] = OrderedDict()
        # Whether there were too many, so that some were removed.
        self._removed = False

    @property
    def count(self) -> IteratorCount:
        """How many there are, open or not."""
        return IteratorCount(len(self._open), len(self._iterators))

    def start(self, start: bytes | None, stop: bytes | None) -> int:
        """Return the number of a new iterator over the transactions from `start` to `stop`."""
        return self._add(_Transactions(self._storage, start, stop))

    def next(self, iid: int) -> tuple[bytes, str, Any, Any, bytes] | None:
        """Return tid, status, user, description and stored extension of the next transaction.

        None at the end; the iterator is then removed.

        :raises KeyError: there is no such iterator.
        """
        transaction = self._next(iid, _Transactions)
        if transaction is None:
            return None
        return (
            transaction.tid,
            transaction.status,
            transaction.user,
            transaction.description,
            stored_extension(transaction),
        )

    def start_records(self, iid: int, tid: bytes) -> int:
        """Return the number of a new iterator over the records of a transaction.

        :param iid: the number of the iterator that returned the transaction. The iterator may have
            returned later ones since, or may have been removed.
        :raises KeyError: `iid` is an iterator over records.
        :raises ZODB.POSException.StorageError: there is no such transaction.
        """
        owner = self._iterators.get(iid)
        if isinstance(owner, _Records):
            raise KeyError(iid)
        return self._add(_Records(self._storage, tid, owner))

    def next_record(self, iid: int) -> tuple[bytes, bytes, bytes | None, bytes | None] | None:
        """Return oid, tid, data and data_txn of the next record.

        None at the end; the iterator is then removed.

        :raises KeyError: there is no such iterator.
        """
        record = self._next(iid, _Records)
        return None if record is None else (record.oid, record.tid, record.data, record.data_txn)

    def forget(self, iids: Iterable[int]) -> None:
        """Close and remove iterators; ignore numbers that are not in use."""
        for iid in iids:
            self._open.pop(iid, None)
            iterator = self._iterators.pop(iid, None)
            if iterator is not None:
                iterator.park()

    def park(self) -> None:
        """Close the storage's iterators; the next use of each one opens it again."""
        while self._open:
            self._park_oldest()

    def close(self) -> None:
        """Close and remove all iterators."""
        self.forget(list(self._iterators))

    def _next(self, iid: int, kind: type[_Transactions | _Records]) -> Any:
        if iid not in self._iterators and self._removed:
            raise LimitReached(
                "the iterator is not there any more, because there are too many of them; use "
                "fewer at a time (iterator-limit)"
            )
        # Move the iterator to the end: `_add` removes the first one when there are too many.
        iterator = self._iterators[iid] = self._iterators.pop(iid)
        if not isinstance(iterator, kind):
            raise KeyError(iid)
        item = iterator.next()
        self._used(iid)
        if item is None:
            self.forget([iid])
        return item

    def _add(self, iterator: _Transactions | _Records) -> int:
        iid = next(self._numbers)
        self._iterators[iid] = iterator
        self._used(iid)
        while len(self._iterators) > self.most.kept:
            self._removed = True
            self.forget([next(iter(self._iterators))])
        return iid

    def _used(self, iid: int) -> None:
        self._open[iid] = None
        self._open.move_to_end(iid)
        while len(self._open) > self.most.opened:
            self._park_oldest()

    def _park_oldest(self) -> None:
        oldest, _ = self._open.popitem(last=False)
        self._iterators[oldest].park()
