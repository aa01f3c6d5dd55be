"""Counts how much of one thing all clients hold together, and says when it is enough."""

from __future__ import annotations

from typing import NamedTuple

from ZODB.POSException import StorageError

__all__ = ["Budget", "LimitReached", "Usage"]


class LimitReached(StorageError):
    """The server refuses something, because a limit is reached. The text names the limit."""


class Usage(NamedTuple):
    """The state of one limit."""

    #: How much is held now.
    used: int
    #: How much may be held.
    most: int
    #: The greatest value of `used` since the server started.
    peak: int
    #: How often the limit was reached, so that something was refused, closed or put off.
    struck: int


class Budget:
    """An amount that clients share. Use it in the reactor's thread only.

    :param key: the name of the limit in the configuration.
    :param most: how much may be held.
    :ivar used: how much is held.
    """

    __slots__ = ("_peak", "_struck", "key", "most", "used")

    def __init__(self, key: str, most: int) -> None:
        self.key = key
        self.most = most
        self.used = 0
        self._peak = 0
        self._struck = 0

    def fits(self, amount: int = 1) -> bool:
        """Return whether `amount` more may be held."""
        return self.used + amount <= self.most

    def add(self, amount: int = 1) -> None:
        """Hold more, or less if `amount` is negative."""
        used = self.used = self.used + amount
        if used > self._peak:
            self._peak = used

    def strike(self) -> None:
        """Count that the limit was reached."""
        self._struck += 1

    def take(self, what: str, amount: int = 1) -> None:
        """Hold more, if it fits.

        :param what: the sentence for the client.
        :raises LimitReached: it does not fit. Nothing has changed, but the strike is counted.
        """
        if not self.fits(amount):
            raise self.reached(what)
        self.add(amount)

    def reached(self, what: str) -> LimitReached:
        """Count a strike, and return the exception for it."""
        self.strike()
        return LimitReached(f"{what} ({self.key} {self.most})")

    def usage(self) -> Usage:
        """Return the numbers for reports."""
        return Usage(self.used, self.most, self._peak, self._struck)
