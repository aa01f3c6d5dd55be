"""Calls a function again and again.

Twisted's `LoopingCall` imports the installed reactor, even if it is given another clock.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["Periodic"]


class Periodic:
    """Calls a function after each period, until it is stopped.

    :param clock: the reactor.
    :param period: in seconds.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, period: float, function: Callable[[], object]) -> None:
        self._clock = clock
        self._period = period
        self._function = function
        self._next: IDelayedCall | None = None

    def start(self) -> None:
        """Begin; the first call is after one period."""
        if self._next is None:
            self._next = self._clock.callLater(self._period, self._call)

    def stop(self) -> None:
        """Make no more calls."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _call(self) -> None:
        self._next = self._clock.callLater(self._period, self._call)
        try:
            self._function()
        except Exception:
            # The next call may succeed, for example when a file can be read again.
            self._log.failure("a periodic task has failed")
