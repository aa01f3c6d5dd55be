"""The eviction policy: which records a cache drops when it is full.

There are two queues. A new record enters the first one, the probation queue. At its end, a record
that was requested meanwhile moves to the main queue; any other is dropped. At the end of the main
queue, a record that was requested meanwhile begins another round; any other is dropped. So a scan
of many objects does not displace the main queue. Dropped oids are remembered for a while: if such
an object is stored again, it enters the main queue at once.

Loading a small object costs as much as loading a larger one. So a record that is smaller than the
mean gets one more round before it is dropped.

In memory, the shares of the queues are adaptive. If an object that was dropped from the probation
queue is stored again, the probation queue grows; if it was dropped from the main queue, the
probation queue shrinks. This is CAR (clock with adaptive replacement), with sizes. In a file the
shares are fixed: S3-FIFO, with sizes.
"""

from __future__ import annotations

from BTrees.QQBTree import QQTreeSet

__all__ = ["PROBATION", "Dropped"]

#: The share of the probation queue in a file. The authors of S3-FIFO use 0.1, which is better if
#: the popular objects never change, and worse if they do.
PROBATION = 0.7


class Dropped:
    """The oids of the objects that were dropped last."""

    def __init__(self) -> None:
        # QQTreeSet takes an eighth of the memory of Python's set.
        self._young = QQTreeSet()
        self._young_length = 0
        self._old = QQTreeSet()
        self._old_length = 0

    def __len__(self) -> int:
        return self._young_length + self._old_length

    def add(self, oid: int, limit: int) -> None:
        """Remember an object. At most `limit` are remembered, and at least half as many."""
        self._young_length += self._young.insert(oid)
        if self._young_length > limit // 2:
            self._old, self._old_length = self._young, self._young_length
            self._young, self._young_length = QQTreeSet(), 0

    def recall(self, oid: int) -> bool:
        """Return whether the object is remembered, and forget it."""
        if oid in self._young:
            self._young.remove(oid)
            self._young_length -= 1
            return True
        if oid in self._old:
            self._old.remove(oid)
            self._old_length -= 1
            return True
        return False
