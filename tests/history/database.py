"""What a storage has in the end: its transactions, in its order."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .history import digest

__all__ = ["Database", "Revision", "Transaction", "mark_of", "transactions_of", "with_mark"]

_MARK = re.compile(rb" ?\[recorded as ([^\]]+)\]")


class Transaction(NamedTuple):
    """A transaction of the storage.

    :ivar records: the data of each object that it changes; None if it deletes the object.
    """

    tid: bytes
    description: bytes
    records: Mapping[bytes, bytes | None]


class Revision(NamedTuple):
    """A revision of an object; `data` is a digest, or None if the object was deleted."""

    tid: bytes
    data: bytes | None


def transactions_of(storage: Any) -> Iterator[Transaction]:
    """Yield the transactions of a storage that can iterate."""
    for transaction in storage.iterator():
        records = {record.oid: record.data for record in transaction}
        yield Transaction(transaction.tid, transaction.description, records)


def with_mark(description: bytes | str, mark: str) -> bytes | str:
    """Return the description of a transaction with this mark, and no other."""
    encoded = description.encode() if isinstance(description, str) else description
    marked = _MARK.sub(b"", encoded) + f" [recorded as {mark}]".encode()
    return marked.decode() if isinstance(description, str) else marked


def mark_of(description: bytes) -> str | None:
    """Return the mark in the description of a transaction, or None."""
    found = _MARK.search(description)
    return found and found[1].decode()


class Database:
    """Transactions, and the revisions of each object.

    :ivar transactions: in the storage's order.
    :ivar tids: theirs.
    :ivar marked: the transactions that have a mark.
    """

    def __init__(self, transactions: Iterable[Transaction]) -> None:
        self.transactions = list(transactions)
        self.tids = [transaction.tid for transaction in self.transactions]
        self.marked: defaultdict[str, list[Transaction]] = defaultdict(list)
        self._tids: defaultdict[bytes, list[bytes]] = defaultdict(list)
        self._data: dict[tuple[bytes, bytes], bytes | None] = {}
        for tid, description, records in self.transactions:
            mark = mark_of(description)
            if mark is not None:
                self.marked[mark].append(Transaction(tid, description, records))
            for oid, data in records.items():
                self._tids[oid].append(tid)
                self._data[oid, tid] = None if data is None else digest(data)

    def revision(self, oid: bytes, tid: bytes) -> Revision | None:
        """Return the revision of an object that the transaction `tid` has written, or None."""
        return Revision(tid, self._data[oid, tid]) if (oid, tid) in self._data else None

    def last_before(self, oid: bytes, tid: bytes) -> Revision | None:
        """Return the last revision of an object before `tid`, or None."""
        tids = self._tids.get(oid, ())
        index = bisect_left(tids, tid)
        return self.revision(oid, tids[index - 1]) if index else None

    def first_after(self, oid: bytes, tid: bytes) -> Revision | None:
        """Return the first revision of an object after `tid`, or None."""
        tids = self._tids.get(oid, ())
        index = bisect_right(tids, tid)
        return self.revision(oid, tids[index]) if index < len(tids) else None
