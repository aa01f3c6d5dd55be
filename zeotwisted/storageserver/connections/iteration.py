"""Runs the calls of one client's iterators in threads, within the limits of all iterators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..limits import NONE
from ..storage import ServedStorage
from ..turns import Turns
from .iterators import Iterators

__all__ = ["Iteration"]


class Iteration:
    """The iterators of one client. Call its methods in the reactor's thread.

    Before each call the client is told how many iterators it may have, and after it they are
    counted. A timer closes the files of iterators that are not used.

    :param served: the storage.
    :param turns: the lock for the client's slow calls.
    """

    _log = Logger()

    def __init__(self, served: ServedStorage, turns: Turns) -> None:
        self._served = served
        self._turns = turns
        self._iterators = Iterators(served.storage)
        self._counted = NONE
        self._timer: IDelayedCall | None = None
        self._closed = False

    @property
    def reading(self) -> tuple[int, float] | None:
        """See `Iterators`."""
        return self._iterators.reading

    def run(self, call: Callable[[Iterators], Any]) -> Deferred[Any]:
        """Run a function of the iterators in a thread; return a Deferred of its result.

        The function is not called, and the result is None, if the client is gone.
        """
        return self._turns.run(self._run, call)

    async def _run(self, call: Callable[[Iterators], Any]) -> Any:
        if self._closed:
            return None
        try:
            return await self._served.run_slow(self, len(self._turns), self._begin, call)
        finally:
            self._count()
            self._set_timer()

    def _begin(self, call: Callable[[Iterators], Any]) -> Deferred[Any]:
        if self._closed:
            return succeed(None)
        self._iterators.most = self._served.limits.iterators.allowance(self._counted)
        return self._served.in_thread(call, self._iterators)

    def _count(self) -> None:
        count = self._iterators.count
        self._served.limits.iterators.changed(self._counted, count)
        self._counted = count

    def _set_timer(self) -> None:
        if self._closed or not self._counted.opened:
            self._stop_timer()
        elif self._timer is None:
            timeout = self._served.options.iterator_timeout
            self._timer = self._served.clock.callLater(timeout, self._idle)
        else:
            self._timer.reset(self._served.options.iterator_timeout)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _idle(self) -> None:
        self._timer = None
        parked = self.run(Iterators.park)
        parked.addErrback(lambda failure: self._log.failure("cannot close iterators", failure))

    def close(self) -> Deferred[None]:
        """Close all iterators, after the call that uses them; skip the calls that wait.

        Return a Deferred that fires when they are closed.
        """
        self._closed = True
        self._stop_timer()
        return self._turns.run(self._close)

    def _close(self) -> None:
        try:
            self._iterators.close()
        finally:
            self._count()
