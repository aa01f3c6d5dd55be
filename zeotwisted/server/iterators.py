"""The iterators over transactions that a client holds on the server."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from ZODB.POSException import StorageError

from .metadata import stored_extension

__all__ = ["Iterators"]


#: How many iterators a client may have open.
_MAX_ITERATORS = 200


class Iterators:
    """One client's iterators, by number. Its methods are not to be called concurrently."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._numbers = itertools.count()
        self._iterators: dict[int, Iterator[Any]] = {}
        # The transaction that each iterator over transactions returned last: its records can be
        # iterated over.
        self._current: dict[int, Any] = {}

    def start(self, start: bytes | None, stop: bytes | None) -> int:
        """Return the number of a new iterator over the transactions in a range of tids."""
        return self._add(iter(self._storage.iterator(start, stop)))

    def next(self, iid: int) -> tuple[bytes, str, Any, Any, bytes] | None:
        """Return tid, status, user, description and stored extension of the next transaction.

        None at the end, after which the number is free.

        :raises KeyError: there is no such iterator.
        """
        transaction = next(self._iterators[iid], None)
        if transaction is None:
            self.forget([iid])
            return None
        self._current[iid] = transaction
        return (
            transaction.tid,
            transaction.status,
            transaction.user,
            transaction.description,
            stored_extension(transaction),
        )

    def start_records(self, iid: int, tid: bytes) -> int:
        """Return the number of a new iterator over the records of iterator `iid`'s transaction.

        :raises KeyError: there is no such iterator.
        :raises ZODB.POSException.StorageError: `tid` is not the transaction it returned last.
        """
        transaction = self._current[iid]
        if transaction.tid != tid:
            raise StorageError("the iterator has moved on to another transaction")
        return self._add(iter(transaction))

    def next_record(self, iid: int) -> tuple[bytes, bytes, bytes | None, bytes | None] | None:
        """Return oid, tid, data and data_txn of the next record; None at the end.

        :raises KeyError: there is no such iterator.
        """
        record = next(self._iterators[iid], None)
        if record is None:
            self.forget([iid])
            return None
        return record.oid, record.tid, record.data, record.data_txn

    def forget(self, iids: Iterable[int]) -> None:
        """Close iterators; numbers that are not in use are ignored."""
        for iid in iids:
            self._current.pop(iid, None)
            close = getattr(self._iterators.pop(iid, None), "close", None)
            if close is not None:
                close()

    def close(self) -> None:
        """Close them all."""
        self.forget(list(self._iterators))

    def _add(self, iterator: Iterator[Any]) -> int:
        if len(self._iterators) >= _MAX_ITERATORS:
            # Each may keep a file open.
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
            raise StorageError(f"more than {_MAX_ITERATORS} iterators are open at a time")
        iid = next(self._numbers)
        self._iterators[iid] = iterator
        return iid
