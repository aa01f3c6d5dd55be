"""Reads the log of transactions in batches, for threads that need all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ZODB.BaseStorage import DataRecord, TransactionRecord
from ZODB.utils import p64, u64, z64

from zeotwisted.exceptions import UnrecognizedResult
from zeotwisted.protocol import CHANGES

from ..calls import ClientProtocol, Waiter
from ..commit import stored_without_mark
from ..connection import Link
from .iterators import transactions

__all__ = ["read_log"]


def read_log(link: Link, since: bytes, stop: bytes) -> Iterator[Any]:
    """Return an iterator over the transactions after `since` up to `stop`, oldest first.

    The records of a transaction can be read, once, until the iterator moves on. What the server
    cannot send in batches is read as `transactions` does.

    :param since: a tid; eight zero bytes for the beginning.
    :raises ClientDisconnected: there is no connection, or it is lost.
    """
    protocol = link.protocol()
    if CHANGES not in protocol.capabilities:
        return transactions(link, None if since == z64 else p64(u64(since) + 1), stop)
    answer = protocol.ask(Waiter(), "changes_start", since, stop, True)
    try:
        _, number, items = answer
    except (TypeError, ValueError):
        raise UnrecognizedResult("changes_start", answer) from None
    return _transactions(_items(link, protocol, number, items))


def _items(link: Link, protocol: ClientProtocol, number: Any, items: Any) -> Iterator[Any]:
    """Yield the items of all batches. Each is asked for before the one before it is dealt with."""
    try:
        while True:
            waiter = Waiter()
            if number is not None:
                protocol.call(waiter, "changes_next", number)
            yield from items
            if number is None:
                return
            answer = protocol.wait(waiter)
            try:
                number, items = answer
            except (TypeError, ValueError):
                raise UnrecognizedResult("changes_next", answer) from None
    finally:
        if number is not None:
            link.dropped.add(protocol, number)


def _transactions(items: Iterator[Any]) -> Iterator[_Transaction]:
    for item in items:
        try:
            tid, status, user, description, extension = item
            transaction = _Transaction(items, tid, status, user, description, extension)
        except (TypeError, ValueError):
            raise UnrecognizedResult("changes_next", item) from None
        yield transaction
        # What the caller has not read.
        for _ in transaction:
            pass


class _Transaction(TransactionRecord):
    """A transaction, whose records can be read once.

    :ivar stored_extension: the extension with the mark, as it is stored.
    """

    def __init__(
        self,
        items: Iterator[Any],
        tid: bytes,
        status: Any,
        user: bytes,
        description: bytes,
        extension: bytes,
    ) -> None:
        text = status.decode("latin-1") if isinstance(status, bytes) else status
        super().__init__(tid, text, user, description, stored_without_mark(extension))
        self.stored_extension = extension
        self._records = _records(items, tid)

    def __iter__(self) -> Iterator[DataRecord]:
        return self._records


def _records(items: Iterator[Any], tid: bytes) -> Iterator[DataRecord]:
    for item in items:
        if item is None:
            return
        try:
            oid, data_txn, data, _ = item
        except (TypeError, ValueError):
            raise UnrecognizedResult("changes_next", item) from None
        yield DataRecord(oid, tid, data, data_txn)
    raise UnrecognizedResult("changes_next", "a transaction without its end")
