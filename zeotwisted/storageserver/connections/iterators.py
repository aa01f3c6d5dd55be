"""The iterators over transactions that a client holds on the server.

A client reports late, or never, that it does not use an iterator any more. So only a few iterators
are open. For the others only the position is kept; they are opened again when they are used.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, TypeAlias

from ZODB.POSException import StorageError

from ..limits import IteratorCount, LimitReached
from ..storage import stored_extension
from .batches import Batches
from .positions import Records, Transactions

__all__ = ["Iterators"]

_Any: TypeAlias = "Transactions | Records | Batches"

#: How many iterators a client may have if there are no limits.
_ANY = IteratorCount(20, 10_000)


class Iterators:
    """One client's iterators, by number. Do not call its methods concurrently.

    :ivar most: how many there may be.
    :ivar reading: the number of the iterator over batches that was used last, and which part of the
        log it has read; None if it has ended.
    """

    def __init__(self, storage: Any) -> None:
        self.most = _ANY
        self.reading: tuple[int, float] | None = None
        self._storage = storage
        self._numbers = itertools.count()
        self._iterators: dict[int, _Any] = {}
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
        return self._add(Transactions(self._storage, start, stop))

    def next(self, iid: int) -> tuple[bytes, str, Any, Any, bytes] | None:
        """Return tid, status, user, description and stored extension of the next transaction.

        None at the end; the iterator is then removed.

        :raises KeyError: there is no such iterator.
        """
        transaction = self._next(iid, Transactions)
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
        :raises KeyError: `iid` is another kind of iterator.
        :raises ZODB.POSException.StorageError: there is no such transaction.
        """
        owner = self._iterators.get(iid)
        if isinstance(owner, (Records, Batches)):
            raise KeyError(iid)
        return self._add(Records(self._storage, tid, owner))

    def next_record(self, iid: int) -> tuple[bytes, bytes, bytes | None, bytes | None] | None:
        """Return oid, tid, data and data_txn of the next record.

        None at the end; the iterator is then removed.

        :raises KeyError: there is no such iterator.
        """
        record = self._next(iid, Records)
        return None if record is None else (record.oid, record.tid, record.data, record.data_txn)

    def start_changes(
        self, since: bytes, stop: bytes, with_data: bool
    ) -> tuple[bool, int | None, list[Any]]:
        """Begin to read the transactions after `since`, up to `stop`; see `Batches`.

        Return whether `since` is in the storage, the number of the iterator, and the first batch.
        The number is None if this was all.

        :raises ZODB.POSException.StorageError: the storage has no iterators.
        """
        if getattr(self._storage, "iterator", None) is None:
            raise StorageError("this storage does not keep the log of its transactions")
        batches = Batches(self._storage, since, stop, with_data)
        number, items = self.next_changes(self._add(batches))
        return batches.known, number, items

    def next_changes(self, iid: int) -> tuple[int | None, list[Any]]:
        """Return the number, or None if there is no more, and the next batch.

        :raises KeyError: there is no such iterator.
        """
        items, done = self._next(iid, Batches)
        if done is not None:
            self.reading = iid, done
            return iid, items
        self.forget([iid])
        return None, items

    def forget(self, iids: Iterable[int]) -> None:
        """Close and remove iterators; ignore numbers that are not in use."""
        for iid in iids:
            self._open.pop(iid, None)
            if self.reading is not None and self.reading[0] == iid:
                self.reading = None
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

    def _next(self, iid: int, kind: type[_Any]) -> Any:
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

    def _add(self, iterator: _Any) -> int:
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
