"""Which attempts to connect are worth a log line: the first, each new reason, and then ever fewer.

A daemon may be away for hours, and a client tries again every two seconds.
"""

from __future__ import annotations

from collections.abc import Hashable

from twisted.internet.interfaces import IReactorTime

__all__ = ["Outage"]

#: After how long (seconds) the log hears again of a reason that it knows. The time doubles with
#: each such line, up to the longest.
_FIRST_PAUSE = 60.0
_LONGEST_PAUSE = 3600.0

#: How many reasons are told between two such lines. A server may find a new one for each attempt.
_REASONS = 5


class Outage:
    """The failed attempts since the last connection that lasted. It belongs to the reactor's
    thread.

    It has no delayed call: a line is due with the next attempt that fails.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.over()

    def over(self) -> None:
        """Begin anew: there was a connection that lasted."""
        self._attempts = 0
        self._since = 0.0
        self._due = 0.0
        self._pause = _FIRST_PAUSE
        self._told: set[Hashable] = set()

    def failed(self, reason: Hashable) -> str | None:
        """Take note of one more attempt that failed.

        :return: what the log line about it ends with; None when it is not worth a line.
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
