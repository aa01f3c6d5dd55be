"""What a cache keeps when it cannot keep everything.

There are two queues. What is new has to be asked for again while it passes through the first one,
the probation, or it goes; what was asked for goes to the main queue, and stays there for
another round whenever it was asked for in the last one. A scan leaves the main queue alone. What
was dropped is remembered for a while: when it comes again, it goes to the main queue at once.

To ask the server costs the same for a small object as for a larger one, so an object that is
smaller than the mean passes once more before it goes.

In memory, the shares of the queues follow from what is missed: when an object comes again that was
dropped from probation, probation grows, and shrinks when it was dropped from the main queue.
This is CAR (clock with adaptive replacement), with sizes. In a file each queue has its place, and
the shares are fixed: S3-FIFO, with sizes.
"""

from __future__ import annotations

from BTrees.QQBTree import QQTreeSet

__all__ = ["PROBATION", "Dropped"]

#: Which part of a file is for probation. The authors of S3-FIFO take a tenth, which is better
#: where the popular objects stay the same for ever, and worse where they change.
PROBATION = 0.7


class Dropped:
    """The objects that were dropped last."""

    def __init__(self) -> None:
        # These take an eighth of the memory of Python's sets.
        self._young = QQTreeSet()
        self._young_length = 0
        self._old = QQTreeSet()
        self._old_length = 0

    def __len__(self) -> int:
        return self._young_length + self._old_length

    def add(self, oid: int, limit: int) -> None:
        """Remember an object, and at most `limit` in all, but at least half as many."""
        self._young_length += self._young.insert(oid)
        if self._young_length > limit // 2:
            self._old, self._old_length = self._young, self._young_length
            self._young, self._young_length = QQTreeSet(), 0

    def recall(self, oid: int) -> bool:
        """Return whether the object was dropped lately, and forget that it was."""
        if oid in self._young:
            self._young.remove(oid)
            self._young_length -= 1
            return True
        if oid in self._old:
            self._old.remove(oid)
            self._old_length -= 1
            return True
        return False
