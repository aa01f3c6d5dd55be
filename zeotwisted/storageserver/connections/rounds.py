"""Connections with messages left go on in a circle, some of them in each turn of the reactor."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Rounds"]

#: How long (seconds) connections go on before the reactor looks for new messages of others. One
#: connection may take longer; then no other one goes on in that turn.
_ROUND = 0.005


class Waiting(Protocol):
    """A connection that has messages left."""

    def go_on(self) -> None:
        """Handle some of the messages. Wait again if there are more."""


class Rounds:
    """Lets connections go on. Use it in the reactor's thread.

    However many of them there are, they take only a few milliseconds of a reactor's turn together.
    So a client that has sent one message does not wait for all clients that have sent thousands.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # The next one is first.
        self._waiting: dict[Waiting, None] = {}
        self._next: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many connections wait."""
        return len(self._waiting)

    def add(self, connection: Waiting) -> None:
        """Let a connection go on later, after those that wait already."""
        self._waiting.setdefault(connection)
        if self._next is None:
            self._next = self._clock.callLater(0, self._go_on)

    def discard(self, connection: Waiting) -> None:
        """Forget a connection, which need not wait."""
        self._waiting.pop(connection, None)
        if not self._waiting and self._next is not None:
            self._next.cancel()
            self._next = None

    def _go_on(self) -> None:
        self._next = None
        end = self._clock.seconds() + _ROUND
        # Those that wait again during this round are not in the list: they need new messages, or
        # the other end, or other clients' turns.
        try:
            for connection in list(self._waiting):
                if connection not in self._waiting:
                    # It has ended in the meantime.
                    continue
                del self._waiting[connection]
                connection.go_on()
                if self._clock.seconds() >= end:
                    break
        finally:
            # An error of one connection must not stop the others.
            if self._waiting and self._next is None:
                self._next = self._clock.callLater(0, self._go_on)
