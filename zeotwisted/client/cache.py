"""Records that the server need not be asked for again, in memory."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from threading import RLock

from ZODB.utils import z64

__all__ = ["ClientCache"]

#: What Python needs for one entry besides its data, in bytes (measured on CPython 3.11).
_OVERHEAD = 480


class _Entry:
    """One revision of an object."""

    __slots__ = ("data", "end", "oid", "size", "start")

    def __init__(self, oid: bytes, start: bytes, end: bytes | None, data: bytes) -> None:
        self.oid = oid
        self.start = start
        #: The tid of the next revision; None while this is the current one.
        self.end = end
        self.data = data
        self.size = len(data) + _OVERHEAD


class ClientCache:
    """Revisions of objects, each with the range of transactions in which it is valid.

    The interface is that of ZEO's client caches. All methods may be called in any thread.

    What is read least recently goes first. An object larger than the cache is not kept.

    :param size: the limit in bytes, overhead included.
    """

    def __init__(self, size: int = 20 * 1024 * 1024) -> None:
        self._limit = size
        self._lock = RLock()
        self._last_tid = z64
        self.clear()

    def clear(self) -> None:
        """Forget all records; the last tid stays."""
        with self._lock:
            self._used = 0
            # All entries, the least recently used first.
            self._entries: OrderedDict[tuple[bytes, bytes], _Entry] = OrderedDict()
            self._current: dict[bytes, _Entry] = {}
            # The start tids of each object's earlier revisions, in ascending order.
            self._earlier: dict[bytes, list[bytes]] = {}

    def close(self) -> None:
        """Forget all records."""
        self.clear()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def used(self) -> int:
        """How many bytes the entries take."""
        return self._used

    def getLastTid(self) -> bytes:
        """Return the last transaction that has been taken note of."""
        return self._last_tid

    def setLastTid(self, tid: bytes) -> None:
        """Note a transaction."""
        self._last_tid = tid

    def load(self, oid: bytes) -> tuple[bytes, bytes] | None:
        """Return data and tid of the current revision, or None."""
        with self._lock:
            entry = self._current.get(oid)
            if entry is None:
                return None
            self._entries.move_to_end((oid, entry.start))
            return entry.data, entry.start

    def loadBefore(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return data, start and end of the revision that was valid just before `tid`, or None."""
        with self._lock:
            entry = self._current.get(oid)
            if entry is None or entry.start >= tid:
                entry = self._find_earlier(oid, tid)
                if entry is None:
                    return None
            self._entries.move_to_end((oid, entry.start))
            return entry.data, entry.start, entry.end

    def _find_earlier(self, oid: bytes, tid: bytes) -> _Entry | None:
        starts = self._earlier.get(oid)
        if starts is None:
            return None
        index = bisect_left(starts, tid)
        if index == 0:
            return None
        entry = self._entries[oid, starts[index - 1]]
        assert entry.end is not None
        return entry if tid <= entry.end else None

    def store(self, oid: bytes, start: bytes, end: bytes | None, data: bytes) -> None:
        """Add a revision.

        :param end: the tid of the next revision; None if this is the current one.
        """
        with self._lock:
            if (oid, start) in self._entries:
                return
            entry = _Entry(oid, start, end, data)
            current = self._current.get(oid)
            if end is None and current is not None:
                if current.start > start:
                    return
                # Its end is not known, and it is certainly not current.
                self._remove(current)
            if entry.size > self._limit:
                return
            while self._used + entry.size > self._limit:
                self._remove(next(iter(self._entries.values())))
            self._entries[oid, start] = entry
            self._used += entry.size
            if end is None:
                self._current[oid] = entry
            else:
                self._add_earlier(entry)

    def _add_earlier(self, entry: _Entry) -> None:
        starts = self._earlier.setdefault(entry.oid, [])
        starts.insert(bisect_left(starts, entry.start), entry.start)

    def _remove(self, entry: _Entry) -> None:
        del self._entries[entry.oid, entry.start]
        self._used -= entry.size
        if entry.end is None:
            del self._current[entry.oid]
            return
        starts = self._earlier[entry.oid]
        starts.remove(entry.start)
        if not starts:
            del self._earlier[entry.oid]

    def invalidate(self, oid: bytes, tid: bytes | None) -> None:
        """Note that the transaction `tid` has changed the object.

        :param tid: None if it is not known which transaction did; the object is forgotten then.
        """
        with self._lock:
            if tid is None:
                for start in list(self._earlier.get(oid, ())):
                    self._remove(self._entries[oid, start])
                current = self._current.get(oid)
                if current is not None:
                    self._remove(current)
                return
            current = self._current.get(oid)
            if current is not None and current.start < tid:
                del self._current[oid]
                current.end = tid
                self._add_earlier(current)
