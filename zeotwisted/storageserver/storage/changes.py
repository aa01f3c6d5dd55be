"""Reads from a storage which objects were changed, for a client that was away for long."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from ZODB.blob import BlobStorage
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, u64

__all__ = ["read_changes", "starts_anywhere"]

#: How long (seconds) to read. The client's application waits for the answer before it can use the
#: connection. Without an answer the client empties its cache.
_LONGEST = 5.0

#: How many changed objects to return at most. A cache has fewer objects: it is cheaper to empty it.
_MOST = 2_000_000


def starts_anywhere(storage: Any) -> bool:
    """Return whether an iterator of `storage` finds its first transaction fast.

    Other storages may read all transactions before it. A FileStorage searches from the nearer end
    of its file.
    """
    if isinstance(storage, BlobStorage):
        # A BlobStorage has the methods of the storage that it wraps.
        return getattr(storage.iterator, "__func__", None) is FileStorage.iterator
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
