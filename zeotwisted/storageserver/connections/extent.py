"""How far a transaction is in the part of the log that a client reads."""

from __future__ import annotations

from typing import Any, NamedTuple

from ZODB.TimeStamp import TimeStamp

from .positions import Transactions

__all__ = ["Extent", "Point"]


class Point(NamedTuple):
    """Where a transaction is in the log.

    :ivar end: where it ends in the file of a FileStorage; None for others.
    """

    tid: bytes
    end: int | None

    @classmethod
    def of(cls, transaction: Any) -> Point:
        """Return that of a storage's transaction, without keeping it."""
        end = getattr(transaction, "_tend", None)
        return cls(transaction.tid, end if isinstance(end, int) else None)

    @property
    def time(self) -> float:
        """When it was committed, in seconds since the epoch."""
        return float(TimeStamp(self.tid).timeTime())


class Extent:
    """The part of the log from one transaction to another, measured in bytes if that is possible.

    :param stop: the tid up to which it is read.
    """

    def __init__(self, storage: Any, first: Point, stop: bytes) -> None:
        found = Transactions(storage, stop, stop)
        try:
            last = found.next()
        finally:
            found.park()
        self._first = first
        self._last = Point(stop, None) if last is None else Point.of(last)

    def done(self, point: Point) -> float:
        """Return which part is read up to a transaction, from 0 to 1."""
        first, last = self._first, self._last
        if first.end is None or last.end is None or point.end is None:
            done, length = point.time - first.time, last.time - first.time
        else:
            done, length = point.end - first.end, last.end - first.end
        return min(1.0, max(0.0, done / length)) if length > 0 else 0.0
