"""What a figure is, and what a goal: the words in which the measures and the report speak."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BASELINE", "UNITS", "Figure", "Goal", "at_least", "at_most"]

#: The contender that ratios refer to unless a goal says otherwise.
BASELINE = "zeo"

#: What a value in seconds, in bytes, or in either per second is multiplied with to be shown. What
#: is only counted has no unit.
UNITS = {
    "": 1.0,
    "us": 1e6,
    "ms": 1e3,
    "s": 1.0,
    "/s": 1.0,
    "MB/s": 1e-6,
    "KiB": 1 / 1024,
    "kB": 1e-3,
}


@dataclass(frozen=True)
class Goal:
    """A ratio that zeotwisted is meant to reach.

    :ivar kind: "at most" or "at least".
    :ivar limit: the ratio.
    :ivar to: the contender whose figure is 1.
    :ivar above: a contender whose figure is taken from both before they are compared.
    """

    kind: str
    limit: float
    to: str = BASELINE
    above: str | None = None

    def is_met(self, ratio: float) -> bool:
        return ratio <= self.limit if self.kind == "at most" else ratio >= self.limit


def at_most(limit: float, to: str = BASELINE, above: str | None = None) -> Goal:
    return Goal("at most", limit, to, above)


def at_least(limit: float) -> Goal:
    return Goal("at least", limit)


@dataclass(frozen=True)
class Figure:
    """One line of the table: a number that a measure yields.

    :ivar unit: a key of `UNITS`.
    :ivar of_daemon: it makes no sense where there is none.
    """

    name: str
    title: str
    unit: str
    goals: tuple[Goal, ...] = ()
    of_daemon: bool = False
