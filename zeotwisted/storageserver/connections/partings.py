"""Connections that are about to end, and stay open until their clients know why.

If a connection is closed at once, the system may discard what was sent last. So the client closes
it when it has the reason. A client that does not is cut off after a while.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Partings"]

#: How many connections may stay open for that, and for how long (seconds).
_MOST = 32
_PATIENCE = 2.0


class Parting(Protocol):
    """One connection."""

    def let_go(self) -> None:
        """Close the connection at once."""


class Partings:
    """Limits how many connections stay open, and for how long."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._timers: dict[Parting, IDelayedCall] = {}

    @property
    def is_full(self) -> bool:
        """Whether no more connections may stay open."""
        return len(self._timers) >= _MOST

    def begin(self, connection: Parting) -> None:
        """Let a connection stay open for a while."""
        self._timers[connection] = self._clock.callLater(_PATIENCE, connection.let_go)

    def over(self, connection: Parting) -> None:
        """The connection is closed; it need not be one that was to end."""
        timer = self._timers.pop(connection, None)
        if timer is not None and timer.active():
            timer.cancel()
