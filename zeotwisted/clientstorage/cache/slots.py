"""Records side by side in arrays, and queues of them, at little cost for each record."""

from __future__ import annotations

from array import array

__all__ = ["ASKED_FOR", "MAIN", "PROBATION", "SPARED", "Slots"]

#: The two queues.
PROBATION, MAIN = 0, 1

#: What is known of a slot besides its queue: somebody wanted it since it came there; it is let
#: pass once more even if nobody did.
ASKED_FOR, SPARED = 2, 4


class Slots:
    """Slots for records; each that is taken is in one of two queues.

    An object for each record would take more memory than many records do.
    """

    def __init__(self) -> None:
        # The first two slots are the beginnings and ends of the queues, which are rings.
        self.data: list[bytes] = [b"", b""]
        #: Oids and start tids, as numbers.
        self.oids = array("Q", (0, 0))
        self.starts = array("Q", (0, 0))
        #: The queue, and what else is known.
        self.flags = bytearray((PROBATION, MAIN))
        self._next = array("L", (0, 1))
        self._previous = array("L", (0, 1))
        #: The first of the free slots, which are linked; 0 if there is none.
        self._free = 0

    def take(self, oid: int, start: int, data: bytes) -> int:
        """Return a slot for a record; it is in no queue yet."""
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
        """Give back a slot that is in no queue any more."""
        self.data[slot] = b""
        self._next[slot] = self._free
        self._free = slot

    def first(self, queue: int) -> int:
        """Return what has been in a queue for longest; the queue itself if it is empty."""
        return self._next[queue]

    def append(self, slot: int, queue: int, flags: int = 0) -> None:
        """Put a slot at the end of a queue."""
        last = self._previous[queue]
        self._next[last] = slot
        self._previous[slot], self._next[slot] = last, queue
        self._previous[queue] = slot
        self.flags[slot] = queue | flags

    def remove(self, slot: int) -> None:
        """Take a slot out of its queue."""
        before, after = self._previous[slot], self._next[slot]
        self._next[before], self._previous[after] = after, before
