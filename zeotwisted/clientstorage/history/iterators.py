"""Iterators over the server's transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import finalize

from ZODB.BaseStorage import DataRecord, TransactionRecord

from ..calls import Waiter
from ..commit import stored_without_mark, without_mark
from ..connection import Link

__all__ = ["TransactionIterator", "transactions"]

#: Calls the server on the connection on which the iterator was made, and returns the result.
Call = Callable[..., Any]

#: Receives the id of an iterator that is not needed any more.
Dropped = Callable[[int], Any]


def transactions(link: Link, start: bytes | None, stop: bytes | None) -> TransactionIterator:
    """Return an iterator over the transactions from tid `start` to tid `stop`.

    :raises ClientDisconnected: there is no connection.
    """
    protocol = link.protocol()

    def ask(name: str, *args: Any) -> Any:
        # Free dropped iterators here, too: a loop over transactions may drop one for each of them.
        if link.dropped:
            link.dropped.tell(protocol)
        return protocol.ask(Waiter(), name, *args)

    return TransactionIterator(ask, lambda iid: link.dropped.add(protocol, iid), start, stop)


class TransactionIterator:
    """Iterates over the server's transactions.

    The server has an iterator for each one of the client. If the client's iterator is garbage
    before its end, `dropped` is called with its id, and a later call frees it at the server.
    """

    def __init__(
        self, call: Call, dropped: Dropped, start: bytes | None, stop: bytes | None
    ) -> None:
        self._call = call
        self._dropped = dropped
        self._iid = call("iterator_start", start, stop)
        self._drop = finalize(self, dropped, self._iid)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> _Transaction:
        if not self._drop.alive:
            raise StopIteration
        item = self._call("iterator_next", self._iid)
        if item is None:
            # The server has freed its iterator already.
            self._drop.detach()
            raise StopIteration
        return _Transaction(self, *item)

    next = __next__

    def close(self) -> None:
        """End the iteration. A later call frees the iterator at the server."""
        self._drop()

    def records(self, tid: bytes) -> _Records:
        """Return an iterator over the records of the transaction that was returned last."""
        return _Records(self, self._call, self._dropped, self._iid, tid)


class _Transaction(TransactionRecord):
    """A transaction. With ZEO's servers, its records can be read only until the iterator moves on;
    with zeotwisted's servers at any time.

    :param extension: a dict, or in version 6 the stored form.
    :ivar stored_extension: the extension with the mark, in the same form. A server whose storage
        is a client sends it to its own clients.
    """

    def __init__(
        self,
        iterator: TransactionIterator,
        tid: bytes,
        status: str,
        user: Any,
        description: Any,
        extension: Any,
    ) -> None:
        if isinstance(extension, bytes):
            # `TransactionRecord` unpickles it at the first access.
            visible: Any = stored_without_mark(extension)
        else:
            visible = without_mark(extension)
        super().__init__(tid, status, user, description, visible)
        self.stored_extension = extension
        # Keep the iterator alive: the server needs it to read the records.
        self._iterator = iterator

    def __iter__(self) -> Iterator[DataRecord]:
        return self._iterator.records(self.tid)


class _Records:
    """Iterates over the records of a transaction."""

    def __init__(
        self, owner: TransactionIterator, call: Call, dropped: Dropped, iid: int, tid: bytes
    ) -> None:
        # Keep it alive: the server reads the records from the file that it has open.
        self._owner = owner
        self._call = call
        self._iid = call("iterator_record_start", iid, tid)
        self._drop = finalize(self, dropped, self._iid)

    def __iter__(self) -> Iterator[DataRecord]:
        return self

    def close(self) -> None:
        """End the iteration, as `TransactionIterator.close` does."""
        self._drop()

    def __next__(self) -> DataRecord:
        if not self._drop.alive:
            raise StopIteration
        item = self._call("iterator_record_next", self._iid)
        if item is None:
            self._drop.detach()
            raise StopIteration
        return DataRecord(*item)
