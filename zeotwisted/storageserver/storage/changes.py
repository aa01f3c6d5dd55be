"""Reads from a storage which objects were changed, for clients that were away.

A server that starts reads the last transactions, so that its clients keep their caches after a
restart. They are read from the storage rather than from a file of the server's: they are right
after a crash, too, and after another process has used the storage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from ZODB.blob import BlobStorage
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.interfaces import IStorageWrapper
from ZODB.utils import p64, u64, z64

__all__ = [
    "LONGEST_AT_START",
    "last_changes",
    "last_transaction",
    "read_changes",
    "starts_anywhere",
]

#: How long (seconds) to read. The client's application waits for the answer before it can use the
#: connection. Without an answer the client empties its cache.
_LONGEST = 5.0

#: How long (seconds) to read at the start. Clients wait until the server listens.
LONGEST_AT_START = 2.0

#: How many changed objects to return at most. A cache has fewer objects: it is cheaper to empty it.
_MOST = 2_000_000


def starts_anywhere(storage: Any) -> bool:
    """Return whether an iterator of `storage` finds its first transaction fast.

    Other storages may read all transactions before it. A FileStorage searches from the nearer end
    of its file.
    """
    if isinstance(storage, DemoStorage):
        return starts_anywhere(storage.base) and starts_anywhere(storage.changes)
    if isinstance(storage, BlobStorage):
        # A BlobStorage has the methods of the storage that it wraps.
        return getattr(storage.iterator, "__func__", None) is FileStorage.iterator
    if IStorageWrapper.providedBy(storage):
        # It changes the form of records, and iterates over the storage that it wraps.
        return starts_anywhere(getattr(storage, "base", None))
    return isinstance(storage, FileStorage)


def read_changes(
    storage: Any, after: bytes, last: bytes, seconds: Callable[[], float] = monotonic
) -> tuple[bytes, bytes] | None:
    """Return `last`, and the joined oids that were changed after the tid `after`, up to `last`.

    None if this takes too long, or if there are too many oids.

    :param seconds: returns the time in seconds.
    """
    end = seconds() + _LONGEST
    oids: set[bytes] = set()
    for transaction in storage.iterator(p64(u64(after) + 1), last):
        for record in transaction:
            oids.add(record.oid)
        if len(oids) > _MOST or seconds() > end:
            return None
    return last, b"".join(oids)


def last_transaction(storage: Any) -> bytes:
    """Return the tid of the last transaction that a storage has.

    If a process was killed during a commit, FileStorage cuts off what it has of the transaction,
    but `lastTransaction` still returns its tid, until the file is opened again. Clients that knew
    that tid would take this storage for an older one then. If the disk was full, it may also return
    other bytes of what was cut off.
    """
    last_invalidations = getattr(storage, "lastInvalidations", None)
    found = last_invalidations(1) if last_invalidations is not None else ()
    last: bytes = found[-1][0] if found else storage.lastTransaction() or z64
    return last


def last_changes(
    storage: Any,
    count: int,
    longest: float = LONGEST_AT_START,
    seconds: Callable[[], float] = monotonic,
) -> Sequence[tuple[bytes, Sequence[bytes]]]:
    """Return the tids and oids of the last transactions, oldest first; at most `count`.

    A FileStorage finds them at once. Another storage is read from its first transaction on. If that
    takes too long, or if the storage cannot be iterated, nothing is returned.

    :param longest: how long (seconds) to read.
    :param seconds: returns the time in seconds.
    """
    last_invalidations = getattr(storage, "lastInvalidations", None)
    if last_invalidations is not None:
        found: Sequence[tuple[bytes, Sequence[bytes]]] = last_invalidations(count)
        return found
    iterator = getattr(storage, "iterator", None)
    if iterator is None:
        return ()
    end = seconds() + longest
    last: deque[tuple[bytes, Sequence[bytes]]] = deque(maxlen=count)
    for transaction in iterator():
        last.append((transaction.tid, [record.oid for record in transaction]))
        if seconds() > end:
            return ()
    return list(last)
