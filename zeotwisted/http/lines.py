"""Remembers the last warnings of the log."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    globalLogPublisher,
)
from zope.interface import implementer

__all__ = ["Line", "Lines"]

#: How many lines, and how many characters of each.
_MOST = 50
_LONGEST = 300


class Line(NamedTuple):
    """One line."""

    #: A number that no other line has.
    number: int
    #: Seconds since the epoch.
    time: float
    level: str
    text: str


@implementer(ILogObserver)
class Lines:
    """Observes Twisted's log. Events come in any thread."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=_MOST)
        self._number = 0

    def start(self) -> None:
        """Begin to observe."""
        globalLogPublisher.addObserver(self)

    def stop(self) -> None:
        """Observe no more."""
        globalLogPublisher.removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """See `twisted.logger.ILogObserver`."""
        level = event.get("log_level", LogLevel.info)
        if level < LogLevel.warn:
            return
        text = formatEvent(event)
        start = "".join(char if char.isprintable() else " " for char in text[:_LONGEST])
        self._number += 1
        self._lines.append(
            Line(
                self._number,
                event.get("log_time", 0.0),
                level.name,
                start if len(text) <= _LONGEST else f"{start}...",
            )
        )

    def last(self) -> list[Line]:
        """Return the lines, the newest first."""
        return list(reversed(self._lines.copy()))
