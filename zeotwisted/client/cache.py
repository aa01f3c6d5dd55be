"""Records that the server need not be asked for again, in memory."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from threading import RLock

from ZODB.utils import u64, z64

from .eviction import PROBATION, Dropped
from .statistics import CacheStatistics

__all__ = ["ClientCache"]

#: What Python needs for one entry besides its data, and for one that was dropped, in bytes
#: (measured on CPython 3.11).
_OVERHEAD = 500


class _Entry:
    """One revision of an object."""

    __slots__ = ("asked_for", "data", "end", "oid", "queue", "size", "start")

    def __init__(self, oid: bytes, start: bytes, end: bytes | None, data: bytes) -> None:
        self.oid = oid
        self.start = start
        #: The tid of the next revision; None while this is the current one.
        self.end = end
        self.data = data
        self.size = len(data) + _OVERHEAD
        #: Whether somebody wanted it since it came into its queue.
        self.asked_for = False
        self.queue: _Queue


class _Queue:
    """Entries in the order in which they came."""

    def __init__(self) -> None:
        self.entries: OrderedDict[tuple[bytes, bytes], _Entry] = OrderedDict()
        self.used = 0

    def add(self, entry: _Entry) -> None:
        self.entries[entry.oid, entry.start] = entry
        self.used += entry.size
        entry.queue = self
        entry.asked_for = False

    def remove(self, entry: _Entry) -> None:
        del self.entries[entry.oid, entry.start]
        self.used -= entry.size

    def first(self) -> _Entry:
        return next(iter(self.entries.values()))


class ClientCache:
    """Revisions of objects, each with the range of transactions in which it is valid.

    The interface is that of ZEO's client caches. All methods may be called in any thread.

    What goes when there is no room is told in `eviction`. An object larger than the cache is not
    kept.

    :param size: the limit in bytes, overhead included.
    """

    def __init__(self, size: int = 20 * 1024 * 1024) -> None:
        self._limit = size
        self._lock = RLock()
        self._last_tid = z64
        self.statistics = CacheStatistics()
        self.clear()

    def clear(self) -> None:
        """Forget all records; the last tid stays."""
        with self._lock:
            self._probation = _Queue()
            self._main = _Queue()
            self._dropped = Dropped()
            self._current: dict[bytes, _Entry] = {}
            # The start tids of each object's earlier revisions, in ascending order.
            self._earlier: dict[bytes, list[bytes]] = {}

    def close(self) -> None:
        """Forget all records."""
        self.clear()

    def set_aside(self, reason: str = "it is newer than the server") -> None:
        """Forget all records; the last tid stays."""
        self.clear()

    def __len__(self) -> int:
        return len(self._probation.entries) + len(self._main.entries)

    @property
    def used(self) -> int:
        """How many bytes the entries take."""
        return self._probation.used + self._main.used

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
                self.statistics.misses += 1
                return None
            self.statistics.hits += 1
            entry.asked_for = True
            return entry.data, entry.start

    def loadBefore(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return data, start and end of the revision that was valid just before `tid`, or None."""
        with self._lock:
            entry = self._current.get(oid)
            if entry is None or entry.start >= tid:
                entry = self._find_earlier(oid, tid)
                if entry is None:
                    self.statistics.misses += 1
                    return None
            self.statistics.hits += 1
            entry.asked_for = True
            return entry.data, entry.start, entry.end

    def _find_earlier(self, oid: bytes, tid: bytes) -> _Entry | None:
        starts = self._earlier.get(oid)
        if starts is None:
            return None
        index = bisect_left(starts, tid)
        if index == 0:
            return None
        entry = self._get(oid, starts[index - 1])
        assert entry.end is not None
        return entry if tid <= entry.end else None

    def _get(self, oid: bytes, start: bytes) -> _Entry:
        key = oid, start
        return self._main.entries.get(key) or self._probation.entries[key]

    def store(self, oid: bytes, start: bytes, end: bytes | None, data: bytes) -> None:
        """Add a revision.

        :param end: the tid of the next revision; None if this is the current one.
        """
        with self._lock:
            if (oid, start) in self._main.entries or (oid, start) in self._probation.entries:
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
            self._make_room(entry.size)
            again = self._dropped.recall(u64(oid))
            (self._main if again else self._probation).add(entry)
            self.statistics.stores += 1
            if end is None:
                self._current[oid] = entry
            else:
                self._add_earlier(entry)

    def _make_room(self, size: int) -> None:
        probation, main = self._probation, self._main
        limit = self._limit - size
        while probation.used + main.used > limit:
            if probation.entries and (
                probation.used + size > PROBATION * self._limit or not main.entries
            ):
                entry = probation.first()
                if entry.asked_for:
                    probation.remove(entry)
                    main.add(entry)
                    continue
                self._dropped.add(u64(entry.oid), len(self))
            else:
                entry = main.first()
                if entry.asked_for:
                    main.remove(entry)
                    main.add(entry)
                    continue
            self._remove(entry)
            self.statistics.evictions += 1

    def _add_earlier(self, entry: _Entry) -> None:
        starts = self._earlier.setdefault(entry.oid, [])
        starts.insert(bisect_left(starts, entry.start), entry.start)

    def _remove(self, entry: _Entry) -> None:
        entry.queue.remove(entry)
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
            self.statistics.invalidations += 1
            if tid is None:
                for start in list(self._earlier.get(oid, ())):
                    self._remove(self._get(oid, start))
                current = self._current.get(oid)
                if current is not None:
                    self._remove(current)
                return
            current = self._current.get(oid)
            if current is not None and current.start < tid:
                del self._current[oid]
                current.end = tid
                self._add_earlier(current)
