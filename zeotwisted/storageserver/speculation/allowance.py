"""Limits how much of the reactor's time guesses take."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

__all__ = ["Allowance"]

#: The part of the time that guesses may take.
_SHARE = 0.5

#: How much of it (seconds) may be saved up.
_MOST = 0.01

#: How long (seconds) the guesses of one answer may take.
_LONGEST = 0.003


class Allowance:
    """The time that guesses may take. What is not used is saved up for a while.

    :param seconds: returns the time in seconds.
    """

    def __init__(self, seconds: Callable[[], float] = perf_counter) -> None:
        self.seconds = seconds
        self._left = _MOST
        self._last = seconds()

    def begin(self) -> float:
        """Return until when guesses may be made; 0 if there is no time left for them."""
        now = self.seconds()
        self._left = min(self._left + _SHARE * (now - self._last), _MOST)
        self._last = now
        return now + min(self._left, _LONGEST) if self._left > 0 else 0.0

    @property
    def is_scarce(self) -> bool:
        """Whether most of what can be saved up is spent: the server has much to do."""
        return self._left < _MOST / 2

    def end(self) -> None:
        """Note that the guesses that began with `begin` have been made."""
        now = self.seconds()
        self._left -= now - self._last
        self._last = now
