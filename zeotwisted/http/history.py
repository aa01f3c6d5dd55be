"""Remembers the figures of the last minutes, for plots."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from twisted.internet.interfaces import IDelayedCall

from zeotwisted.storageserver import Histogram, StorageServer

__all__ = ["SPAN", "History", "Point"]

#: How long the past is (seconds), and how often it is noted.
SPAN = 300.0
_STEP = 2.0

#: Which of all durations the plots of latencies show: 95 of 100 are shorter.
_QUANTILE = 0.95

#: The calls whose latencies are shown.
_LOAD, _COMMIT = "loadBefore", "tpc_finish"


class Point(NamedTuple):
    """What happened up to a time."""

    #: The clock's time (seconds).
    time: float
    loads: float
    commits: float
    #: Of 95 of 100 calls (seconds); None if there was none.
    load_seconds: float | None
    commit_seconds: float | None


class _Sample(NamedTuple):
    """The counts at a time."""

    time: float
    #: Loads and commits, by storage.
    storages: Mapping[str, tuple[int, int]]
    loads: Sequence[int]
    commits: Sequence[int]


class History:
    """Notes the counts of a server at each step of a clock.

    :param clock: the reactor.
    """

    def __init__(self, server: StorageServer, clock: Any) -> None:
        self._server = server
        self._clock = clock
        self._samples: deque[_Sample] = deque(maxlen=int(SPAN / _STEP) + 1)
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to note."""
        self._note()

    def stop(self) -> None:
        """Note no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _note(self) -> None:
        self._timer = self._clock.callLater(_STEP, self._note)
        calls = self._server.figures.calls
        self._samples.append(
            _Sample(
                self._clock.seconds(),
                {
                    name: (served.stats.loads, served.stats.commits)
                    for name, served in self._server.served.items()
                },
                tuple(calls[_LOAD].seconds.counts),
                tuple(calls[_COMMIT].seconds.counts),
            )
        )

    def points(self, storages: Collection[str]) -> list[Point]:
        """Return what happened in each step, the oldest first.

        :param storages: those whose loads and commits are counted.
        """
        samples = list(self._samples)
        return [self._point(before, after, storages) for before, after in pairwise(samples)]

    def _point(self, before: _Sample, after: _Sample, storages: Collection[str]) -> Point:
        seconds = max(after.time - before.time, 0.001)
        loads, commits = (
            sum(_more(before, after, name, index) for name in storages) / seconds
            for index in (0, 1)
        )
        bounds = self._bounds()
        return Point(
            after.time,
            loads,
            commits,
            _quantile(before.loads, after.loads, bounds),
            _quantile(before.commits, after.commits, bounds),
        )

    def _bounds(self) -> Sequence[float]:
        histogram: Histogram = self._server.figures.calls[_LOAD].seconds
        return histogram.bounds


def _more(before: _Sample, after: _Sample, name: str, index: int) -> int:
    nothing = (0, 0)
    return after.storages.get(name, nothing)[index] - before.storages.get(name, nothing)[index]


def _quantile(before: Sequence[int], after: Sequence[int], bounds: Sequence[float]) -> float | None:
    """Return how long 95 of 100 calls took at most, as Prometheus guesses it from buckets."""
    counts = [late - early for early, late in zip(before, after, strict=True)]
    total = sum(counts)
    if not total:
        return None
    rank = total * _QUANTILE
    lower = 0.0
    for bound, number in zip(bounds, counts, strict=False):
        if rank <= number:
            return lower + (bound - lower) * rank / number
        rank -= number
        lower = bound
    return bounds[-1]
