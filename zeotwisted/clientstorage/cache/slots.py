"""Records in arrays, and queues of records, with little memory for each record."""

from __future__ import annotations

from array import array

__all__ = ["ASKED_FOR", "MAIN", "PROBATION", "SPARED", "Slots"]

#: The two queues.
PROBATION, MAIN = 0, 1

#: The flags of a slot besides its queue. ASKED_FOR: the record was requested since it entered the
#: queue. SPARED: it is kept for one more round even if it is not requested.
ASKED_FOR, SPARED = 2, 4


class Slots:
    """Slots for records. Each slot that is taken is in one of two queues.

    An object for each record would take more memory than a small record.
    """

    def __init__(self) -> None:
        # The queues are rings. The first two slots are their heads.
        self.data: list[bytes] = [b"", b""]
        #: Oids and start tids, as numbers.
        self.oids = array("Q", (0, 0))
        self.starts = array("Q", (0, 0))
        #: The queue and the flags of each slot.
        self.flags = bytearray((PROBATION, MAIN))
        self._next = array("L", (0, 1))
        self._previous = array("L", (0, 1))
        #: The first slot of the linked list of free slots; 0 if there is none.
        self._free = 0

    def take(self, oid: int, start: int, data: bytes) -> int:
        """Put a record into a slot and return the slot. It is in no queue yet."""
        slot = self._free
        if slot:
            self._free = self._next[slot]
            self.data[slot], self.oids[slot], self.starts[slot] = data, oid, start
            return slot
        self.data.append(data)
        self.oids.append(oid)
        self.starts.append(start)
        self.flags.append(0)
        self._next.append(0)
        self._previous.append(0)
        return len(self.data) - 1

    def free(self, slot: int) -> None:
        """Free a slot that is in no queue any more."""
        self.data[slot] = b""
        self._next[slot] = self._free
        self._free = slot

    def first(self, queue: int) -> int:
        """Return the oldest slot of a queue; the queue itself if it is empty."""
        return self._next[queue]

    def append(self, slot: int, queue: int, flags: int = 0) -> None:
        """Put a slot at the end of a queue."""
        last = self._previous[queue]
        self._next[last] = slot
        self._previous[slot], self._next[slot] = last, queue
        self._previous[queue] = slot
        self.flags[slot] = queue | flags

    def remove(self, slot: int) -> None:
        """Remove a slot from its queue."""
        before, after = self._previous[slot], self._next[slot]
        self._next[before], self._previous[after] = after, before
