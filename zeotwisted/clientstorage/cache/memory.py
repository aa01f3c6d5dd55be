"""A cache of records in memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from struct import Struct
from threading import RLock

from BTrees.OQBTree import OQBTree
from BTrees.QQBTree import QQBTree
from ZODB.utils import p64, u64, z64

from zeotwisted.protocol import numbers

from .eviction import Dropped
from .slots import ASKED_FOR, MAIN, PROBATION, SPARED, Slots
from .statistics import CacheStatistics

__all__ = ["ClientCache"]

#: How many bytes a revision takes besides its data, including its share of the dropped oids; and
#: how many more an earlier revision takes (measured on CPython 3.11).
_OVERHEAD = 110
_EARLIER_OVERHEAD = 280

# ZODB's `u64` and `p64`, without a check that costs as much as they do.
_number = Struct(">Q").unpack
_bytes = Struct(">Q").pack


class ClientCache:
    """Revisions of objects, each with the range of transactions in which it is valid.

    The interface is that of ZEO's client caches. All methods may be called in any thread.

    See `eviction` for the records that are dropped when it is full. An object that is larger than
    the cache is not kept.

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
            self._slots = Slots()
            self._length = 0
            # How many bytes are in each queue.
            self._used = [0, 0]
            #: How many bytes the probation queue should have.
            self._share = self._limit / 2
            # The oids that were dropped from each queue.
            self._dropped = Dropped(), Dropped()
            # The slot of each object's current revision.
            self._current = QQBTree()
            # The slots of earlier revisions by oid and start, and their ends by slot.
            self._earlier = OQBTree()
            self._ends: dict[int, bytes] = {}

    def close(self) -> None:
        """Forget all records."""
        self.clear()

    def set_aside(self, reason: str = "it is newer than the server") -> None:
        """Forget all records; the last tid stays."""
        self.clear()

    def __len__(self) -> int:
        return self._length

    @property
    def used(self) -> int:
        """How many bytes the entries take."""
        return sum(self._used)

    def getLastTid(self) -> bytes:
        """Return the tid as of which the cache is up to date."""
        return self._last_tid

    def setLastTid(self, tid: bytes) -> None:
        """Set the last tid, after all invalidations of that transaction."""
        self._last_tid = tid

    def load(self, oid: bytes) -> tuple[bytes, bytes] | None:
        """Return data and tid of the current revision, or None."""
        with self._lock:
            slot = self._current.get(u64(oid))
            if slot is None:
                self.statistics.misses += 1
                return None
            self.statistics.hits += 1
            slots = self._slots
            slots.flags[slot] |= ASKED_FOR
            return slots.data[slot], p64(slots.starts[slot])

    def loadBefore(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return data, start and end of the revision that was valid just before `tid`, or None."""
        with self._lock:
            slots = self._slots
            slot = self._current.get(_number(oid)[0])
            end = None
            if slot is None or (start := _bytes(slots.starts[slot])) >= tid:
                slot = self._find_earlier(oid, tid)
                if slot is None:
                    self.statistics.misses += 1
                    return None
                start, end = p64(slots.starts[slot]), self._ends[slot]
            self.statistics.hits += 1
            slots.flags[slot] |= ASKED_FOR
            return slots.data[slot], start, end

    def _find_earlier(self, oid: bytes, tid: bytes) -> int | None:
        if tid == z64 or not self._earlier:
            return None
        try:
            key = self._earlier.maxKey(oid + p64(u64(tid) - 1))
        except ValueError:
            # There is no key up to this one.
            return None
        slot: int = self._earlier[key]
        return slot if key.startswith(oid) and tid <= self._ends[slot] else None

    @property
    def room(self) -> int:
        """How many bytes it has left."""
        return self._limit - self.used

    def lacking(self, oids: Sequence[bytes]) -> list[bytes]:
        """Return those of which it has no current revision. This counts as no request."""
        with self._lock:
            known = self._current.__contains__
            return [oid for oid in oids if not known(u64(oid))]

    def requested(self, first: bytes, most: int) -> tuple[list[bytes], bytes | None]:
        """Return the oids of current revisions that were requested since they came.

        :param first, most: look at so many, from this oid on.
        :return: the oids, and where to go on; None if there are no more.
        """
        with self._lock:
            found = list(islice(self._current.items(u64(first)), most + 1))
            flags = self._slots.flags
            wanted = [number for number, slot in found[:most] if flags[slot] & (ASKED_FOR | MAIN)]
            return list(map(p64, wanted)), p64(found[most][0]) if len(found) > most else None

    def store(self, oid: bytes, start: bytes, end: bytes | None, data: bytes) -> None:
        """Add a revision.

        :param end: the tid of the next revision; None if this is the current one.
        """
        with self._lock:
            (number,) = _number(oid)
            if not self._is_new(oid, number, start, end):
                return
            size = len(data) + _OVERHEAD + (_EARLIER_OVERHEAD if end else 0)
            if size > self._limit:
                return
            queue = self._recall(number, size) if end is None else PROBATION
            used = self._used
            if used[PROBATION] + used[MAIN] + size > self._limit:
                self._make_room(size)
            slot = self._slots.take(number, _number(start)[0], data)
            if end is None:
                self._current[number] = slot
            else:
                self._earlier[oid + start] = slot
                self._ends[slot] = end
            self._length += 1
            used[queue] += size
            self._slots.append(slot, queue, self._spared(size))
            self.statistics.stores += 1

    def store_ahead(self, oid: bytes, start: bytes, end: None, data: bytes) -> None:
        """Add a current revision that nobody has asked for, unless there is no room for it.

        It drops only records that were not asked for since they came.
        """
        with self._lock:
            (number,) = _number(oid)
            if not self._is_new(oid, number, start, end):
                return
            size = len(data) + _OVERHEAD
            if not self._make_room_on_probation(size):
                return
            slot = self._slots.take(number, _number(start)[0], data)
            self._current[number] = slot
            self._length += 1
            self._used[PROBATION] += size
            self._slots.append(slot, PROBATION)
            self.statistics.stores += 1

    def _is_new(self, oid: bytes, number: int, start: bytes, end: bytes | None) -> bool:
        """Return whether a revision is not known. An older current one is removed then."""
        current = self._current.get(number)
        if current is not None:
            known = p64(self._slots.starts[current])
            if known == start or (end is None and known > start):
                return False
        if self._earlier and oid + start in self._earlier:
            return False
        if end is None and current is not None:
            # It is not current any more, and its end is not known.
            self._remove(current)
        return True

    def _size(self, slot: int) -> int:
        size = len(self._slots.data[slot]) + _OVERHEAD
        return size + _EARLIER_OVERHEAD if slot in self._ends else size

    def _spared(self, size: int) -> int:
        """Return SPARED for a record that is smaller than the mean, and otherwise 0."""
        used = self._used
        return SPARED if size * self._length < used[PROBATION] + used[MAIN] else 0

    def _recall(self, oid: int, size: int) -> int:
        """Return the queue for a new revision; if it was dropped too early, adapt the shares."""
        probation, main = self._dropped
        if probation.recall(oid):
            step = size * max(1, len(main) / (len(probation) + 1))
            self._share = min(self._limit, self._share + step)
        elif main.recall(oid):
            step = size * max(1, len(probation) / (len(main) + 1))
            self._share = max(0, self._share - step)
        else:
            return PROBATION
        return MAIN

    def _make_room(self, size: int) -> None:
        used = self._used
        limit = self._limit - size
        while sum(used) > limit:
            probation = used[PROBATION] and (used[PROBATION] + size > self._share or not used[MAIN])
            queue = PROBATION if probation else MAIN
            self._pass(self._slots.first(queue), queue)

    def _make_room_on_probation(self, size: int) -> bool:
        """Drop records that are on probation; return whether there is room."""
        if size > self._limit:
            return False
        while sum(self._used) + size > self._limit:
            slot = self._slots.first(PROBATION)
            if slot == PROBATION:
                return False
            self._pass(slot, PROBATION)
        return True

    def _pass(self, slot: int, queue: int) -> None:
        """Drop the first record of a queue, or move it to where it stays longer."""
        slots, used = self._slots, self._used
        flags = slots.flags[slot]
        if flags & ASKED_FOR:
            size = self._size(slot)
            used[queue] -= size
            used[MAIN] += size
            slots.remove(slot)
            slots.append(slot, MAIN, self._spared(size))
        elif flags & SPARED:
            slots.remove(slot)
            slots.append(slot, queue)
        else:
            if slot not in self._ends:
                self._dropped[queue].add(slots.oids[slot], self._length)
            self._remove(slot)
            self.statistics.evictions += 1

    def _remove(self, slot: int) -> None:
        slots = self._slots
        self._used[slots.flags[slot] & MAIN] -= self._size(slot)
        self._length -= 1
        number = slots.oids[slot]
        if self._ends.pop(slot, None) is None:
            del self._current[number]
        else:
            del self._earlier[p64(number) + p64(slots.starts[slot])]
        slots.remove(slot)
        slots.free(slot)

    def invalidate(self, oid: bytes, tid: bytes | None) -> bool:
        """Apply an invalidation: the transaction `tid` has changed the object.

        :param tid: None if the transaction is not known; the object is forgotten then.
        :return: whether the cache has changed.
        """
        with self._lock:
            if tid is None:
                before = self._length
                self.forget((oid,))
                return self._length < before
            self.statistics.invalidations += 1
            current = self._current.get(u64(oid))
            if current is None or self._slots.starts[current] >= u64(tid):
                return False
            self._end(oid, current, tid)
            return True

    def changed(self, tid: bytes, oids: Sequence[bytes]) -> None:
        """Apply the invalidations of a transaction, which has changed the objects."""
        with self._lock:
            self.statistics.invalidations += len(oids)
            current, starts, end = self._current, self._slots.starts, u64(tid)
            # Few of them are here, usually. All are looked up in one step.
            for number in filter(current.__contains__, numbers(b"".join(oids))):
                slot = current[number]
                if starts[slot] < end:
                    self._end(p64(number), slot, tid)

    def forget(self, oids: Sequence[bytes]) -> None:
        """Forget objects that unknown transactions have changed."""
        with self._lock:
            self.statistics.invalidations += len(oids)
            if not self._length:
                return
            current = self._current
            for number in filter(current.__contains__, numbers(b"".join(oids))):
                self._remove(current[number])
            if not self._earlier:
                return
            for oid in oids:
                for slot in list(self._earlier.values(oid + z64, oid + b"\xff" * 8)):
                    self._remove(slot)

    def _end(self, oid: bytes, slot: int, tid: bytes) -> None:
        """Make the current revision an earlier one, which ends at `tid`."""
        slots = self._slots
        del self._current[u64(oid)]
        self._earlier[oid + p64(slots.starts[slot])] = slot
        self._ends[slot] = tid
        queue = slots.flags[slot] & MAIN
        # Clear the other flags: an earlier revision is rarely requested.
        slots.flags[slot] = queue
        self._used[queue] += _EARLIER_OVERHEAD
        self._make_room(0)
