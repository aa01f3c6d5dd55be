"""Transaction ids that the server chooses before the transaction is in the storage.

The client receives the tid with the vote. If the connection is lost during ``tpc_finish``, the
client can ask whether the transaction with this tid is in the storage.
"""

from __future__ import annotations

import random
import time
from typing import Any

from ZODB.BaseStorage import BaseStorage
from ZODB.DemoStorage import DemoStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import p64, u64

__all__ = ["TidClock", "holds", "takes_tids"]


def takes_tids(storage: Any) -> bool:
    """Return whether the server may choose the tids of `storage`, in ``storage.tpc_begin``.

    A storage that is a client of another server accepts a tid only for copies of a database. A
    wrapper has the methods of the storage that it wraps, so this checks the function itself.
    """
    begin = storage.tpc_begin
    function = getattr(begin, "__func__", None)
    if function is DemoStorage.tpc_begin:
        return takes_tids(begin.__self__.changes)
    return function in (BaseStorage.tpc_begin, MappingStorage.tpc_begin)


class TidClock:
    """Makes tids. Each is new: no transaction had it, not even one that was aborted."""

    def __init__(self) -> None:
        self._last = b""

    def next(self, last: bytes) -> bytes:
        """Return a tid that is later than `last`, and later than all that this method returned."""
        after = TimeStamp(max(last, self._last))
        now = time.time()
        if not self._last and now <= after.timeTime():
            # The clock is behind the storage. Before a restart, the server may have given the next
            # tid to a transaction that was aborted then. Its client may still ask for that tid, so
            # the first tid after a restart is a random distance ahead. The later ones need no such
            # distance: they follow `_last`. Distances would also move the tids ever further ahead
            # of the clock.
            now = after.timeTime() + random.random()
        made: bytes = TimeStamp(*time.gmtime(now)[:5], now % 60).laterThan(after).raw()
        self._last = made
        return made


def holds(storage: Any, tid: bytes, oid: bytes | None) -> bool:
    """Return whether there is a transaction `tid` in the storage.

    :param oid: the oid of an object that the transaction changes; None if it is not known. It is
        needed for storages that have no iterator.
    """
    iterator = getattr(storage, "iterator", None)
    if iterator is not None:
        return any(transaction.tid == tid for transaction in iterator(tid, tid))
    if oid is None:
        return False
    revision = storage.loadBefore(oid, p64(u64(tid) + 1))
    return revision is not None and revision[1] == tid
