"""Counts durations in buckets whose bounds never change."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

__all__ = ["CALL_BOUNDS", "LOCK_BOUNDS", "Histogram"]

_SHORT = (0.00005, 0.0001, 0.00025, 0.0005)
_MIDDLE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

#: Upper bounds (seconds) for calls: a load from memory takes microseconds.
CALL_BOUNDS = (*_SHORT, *_MIDDLE, 10.0)

#: The same for the commit lock.
LOCK_BOUNDS = (*_MIDDLE, 5.0, 10.0, 30.0, 60.0)


class Histogram:
    """How often something took how long.

    :param bounds: the upper bounds (seconds) of the buckets, in ascending order. There is one more
        bucket, without a bound.
    :ivar counts: how many durations each bucket has.
    :ivar sum: all durations together (seconds).
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = CALL_BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def add_for(self, times: int, seconds: float) -> None:
        """Count one duration for several that were not measured."""
        self.counts[bisect_left(self.bounds, seconds)] += times
        self.sum += seconds * times

    @property
    def count(self) -> int:
        """The number of all durations."""
        return sum(self.counts)

    def cumulated(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, and how many durations were not longer; the last bound is infinite."""
        total = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            yield bound, total
