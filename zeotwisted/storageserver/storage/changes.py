"""What transactions have changed, read from a storage for a client that was away for long."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from ZODB.blob import BlobStorage
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, u64

__all__ = ["read_changes", "starts_anywhere"]

#: How long (seconds) to read. The client waits for it, with all of its application, before it uses
#: the connection; without an answer it has to load again what it needs.
_LONGEST = 5.0

#: How many objects may have been changed. Much more than a cache has are of no use.
_MOST = 2_000_000


def starts_anywhere(storage: Any) -> bool:
    """Return whether an iterator of `storage` finds its start without reading all before it.

    A FileStorage looks for it from the nearer end of its file.
    """
    if isinstance(storage, BlobStorage):
        # It passes everything on to the storage that it wraps.
        return getattr(storage.iterator, "__func__", None) is FileStorage.iterator
    return isinstance(storage, FileStorage)


def read_changes(
    storage: Any, after: bytes, last: bytes, seconds: Callable[[], float] = monotonic
) -> tuple[bytes, bytes] | None:
    """Return `last` and the oids, joined, that were changed after one tid, up to another.

    None if that takes too long, or there are too many.

    :param seconds: the time.
    """
    end = seconds() + _LONGEST
    oids: set[bytes] = set()
    for transaction in storage.iterator(p64(u64(after) + 1), last):
        for record in transaction:
            oids.add(record.oid)
        if len(oids) > _MOST or seconds() > end:
            return None
    return last, b"".join(oids)
