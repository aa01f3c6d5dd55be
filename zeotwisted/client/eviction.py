"""What a cache keeps when it cannot keep everything.

Both caches follow S3-FIFO: what is new has to be asked for again while it passes through a short
queue, the probation, or it goes; what was asked for goes to the main queue, and stays there for
another round whenever it was asked for in the last one. A scan leaves the main queue alone. What
was dropped is remembered for a while: when it comes again, it goes to the main queue at once.
"""

from __future__ import annotations

from BTrees.QQBTree import QQTreeSet

__all__ = ["PROBATION", "Dropped"]

#: Which part of the space is for probation. The authors of S3-FIFO take a tenth, which is
#: better where the popular objects stay the same for ever, and worse where they change.
PROBATION = 0.5


class Dropped:
    """The objects that were dropped last."""

    def __init__(self) -> None:
        # These take an eighth of the memory of Python's sets.
        self._young = QQTreeSet()
        self._young_length = 0
        self._old = QQTreeSet()

    def add(self, oid: int, limit: int) -> None:
        """Remember an object, and at most `limit` in all, but at least half as many."""
        self._young_length += self._young.insert(oid)
        if self._young_length > limit // 2:
            self._old, self._young, self._young_length = self._young, QQTreeSet(), 0

    def recall(self, oid: int) -> bool:
        """Return whether the object was dropped lately, and forget that it was."""
        if oid in self._young:
            self._young.remove(oid)
            self._young_length -= 1
            return True
        if oid in self._old:
            self._old.remove(oid)
            return True
        return False
