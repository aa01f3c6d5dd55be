"""Transaction ids that are chosen before the transaction is in the storage.

A client that knows the tid of its transaction before the end can ask for it when the connection is
lost at the end.
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
    """Return whether ``storage.tpc_begin`` takes the tid that the transaction is to have.

    For some storages, which are clients of others, that only makes sense when a database is copied.
    Others pass on the methods of the storage that they wrap; so this looks at where they come from.
    """
    begin = storage.tpc_begin
    function = getattr(begin, "__func__", None)
    if function is DemoStorage.tpc_begin:
        return takes_tids(begin.__self__.changes)
    return function in (BaseStorage.tpc_begin, MappingStorage.tpc_begin)


class TidClock:
    """Makes tids that no transaction has, and none had that was aborted."""

    def __init__(self) -> None:
        self._last = b""

    def next(self, last: bytes) -> bytes:
        """Return a tid that is later than `last` and than all before."""
        after = TimeStamp(max(last, self._last))
        now = time.time()
        if not self._last and now <= after.timeTime():
            # The next possible one may have been promised before the server was started anew, to a
            # transaction that was aborted then. Of its own ones the server knows; to leave room
            # before each would take them away from the clock for ever.
            now = after.timeTime() + random.random()
        made: bytes = TimeStamp(*time.gmtime(now)[:5], now % 60).laterThan(after).raw()
        self._last = made
        return made


def holds(storage: Any, tid: bytes, oid: bytes | None) -> bool:
    """Return whether there is a transaction `tid` in the storage.

    :param oid: an object that it changes, for storages that cannot list transactions.
    """
    iterator = getattr(storage, "iterator", None)
    if iterator is not None:
        return any(transaction.tid == tid for transaction in iterator(tid, tid))
    if oid is None:
        return False
    revision = storage.loadBefore(oid, p64(u64(tid) + 1))
    return revision is not None and revision[1] == tid
