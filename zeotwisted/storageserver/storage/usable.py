"""Finds out whether a storage can still be used after a failure, and brings it in order.

If the disk fails while FileStorage finishes a transaction, FileStorage closes itself: it does not
know what is on the disk. When the file is opened again, it reads what is there.

If the disk fails or is full at a vote, FileStorage cuts off what it has written. That fails, too,
while Python still has some of it to write. The next commit would then be written over the rest, and
loads would return what was read before. The file in which it collects a transaction keeps its size,
so a smaller transaction would find no room; and what Python still has of that file would have to be
written before anything else.
"""

from __future__ import annotations

import os
from typing import Any

from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, z64

from zeotwisted.exceptions import ClientDisconnected

__all__ = ["has_closed", "make_room", "restore", "why_unusable"]


def has_closed(storage: Any) -> bool:
    """Return whether a FileStorage has closed itself. It may be within another storage."""
    # Such storages pass on the attributes. If the disk fails again while the file is closed,
    # records can still be loaded, but nothing can be committed.
    return getattr(getattr(storage, "_file", None), "closed", False) is True


def restore(storage: Any) -> None:
    """Do again what a FileStorage does after a vote that has failed, as it may have failed, too.

    The caller has begun a transaction, so nobody else writes. Other storages do not change.

    :raises OSError: the disk still fails.
    """
    try:
        lock, file, end, readers = storage._lock, storage._file, storage._pos, storage._files
    except AttributeError:
        return
    with lock:
        # This first writes what Python still has.
        file.truncate(end)
    readers.flush()


def make_room(storage: Any) -> None:
    """Give back the room in which a FileStorage has collected a transaction that fails.

    Call it before ``tpc_abort``, which needs some room. Other storages do not change.
    """
    try:
        lock, collected = storage._lock, storage._tfile
    except AttributeError:
        return
    with lock:
        # Not by Python's file: that would first write what it still has, which needs room.
        os.ftruncate(collected.fileno(), 0)


def why_unusable(storage: Any) -> str:
    """Return why a storage cannot be used any more; an empty text if it can."""
    if has_closed(storage):
        return "the storage has closed its file"
    try:
        storage.loadBefore(z64, maxtid)
    except POSKeyError:
        # There is no root object.
        return ""
    except ClientDisconnected:
        # The storage is at another server, which will be there again.
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
