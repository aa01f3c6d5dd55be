"""Limits the log lines about failed attempts to connect.

A server may be down for hours, and a client tries again every two seconds. It logs the first
failure and each new reason; it repeats a reason at growing intervals.
"""

from __future__ import annotations

from collections.abc import Hashable

from twisted.internet.interfaces import IReactorTime

__all__ = ["Outage"]

#: After how long (seconds) a known reason is logged again. The interval doubles with each such
#: line, up to the longest one.
_FIRST_PAUSE = 60.0
_LONGEST_PAUSE = 3600.0

#: How many reasons are logged between two such lines. The reason may be new at each attempt.
_REASONS = 5


class Outage:
    """The failed attempts since the last connection that lasted. It belongs to the reactor's
    thread.

    It uses no delayed call: when the interval is over, the next failure returns a line.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.over()

    def over(self) -> None:
        """Forget all failures: there was a connection that lasted."""
        self._attempts = 0
        self._since = 0.0
        self._due = 0.0
        self._pause = _FIRST_PAUSE
        self._told: set[Hashable] = set()

    def failed(self, reason: Hashable) -> str | None:
        """Count a failed attempt.

        :return: the end of the log line about it; None if it needs no line.
        """
        now = self._clock.seconds()
        if not self._attempts:
            self._since = now
            self._due = now + self._pause
        self._attempts += 1
        if now >= self._due:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self._due = now + self._pause
            self._told = {reason}
            return f" ({self._attempts} attempts in {_spelled(now - self._since)})"
        if reason in self._told or len(self._told) >= _REASONS:
            return None
        self._told.add(reason)
        return ""


def _spelled(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
