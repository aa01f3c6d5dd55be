"""How long the calls of clients take, and how many of them fail."""

from __future__ import annotations

from zeotwisted.protocol import SERVER_CALLS

from .histogram import Histogram

__all__ = ["TIMED", "CallFigures"]

TIMED = 8


class CallFigures:
    """The figures of one call, such as ``loadBefore``, of all clients.

    :ivar seconds: from when its message was read to when its answer was written. Of the loads that
        are answered at once, one in `TIMED` is measured, and counts for all: a load takes few
        microseconds, and to measure each would be a fiftieth of that.
    :ivar failed: how many were answered by an exception. A conflict is one, too.
    """

    __slots__ = ("failed", "seconds")

    def __init__(self) -> None:
        self.seconds = Histogram()
        self.failed = 0

    @classmethod
    def of_all(cls) -> dict[str, CallFigures]:
        """Return new figures for each call that there is, by its name."""
        return {name: cls() for name in SERVER_CALLS}
