"""A pool of threads that end when there is nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

__all__ = ["IdlingPool"]

#: How long (seconds) the threads wait for more work.
_IDLE = 10.0


class IdlingPool:
    """Runs functions in threads. Call its methods in the reactor's thread, except `stop`.

    Twisted's thread pool keeps all threads that it has ever needed.

    :param reactor: gets the results.
    :param name: the name of the threads.
    :param most: how many functions run at the same time.
    """

    def __init__(self, reactor: Any, name: str, most: int) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, most, name=name)
        # The process may end without a thread that waits for a database for ever.
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
        self._pool.start()
        self._running = 0
        self._timer: IDelayedCall | None = None
        self._stops = False

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run a function in a thread; return a Deferred of its result or exception."""
        self._running += 1
        self._cancel()
        done = deferToThreadPool(self._reactor, self._pool, function, *args)
        done.addBoth(self._done)
        return done

    def _done(self, result: Any) -> Any:
        self._running -= 1
        if not self._running and not self._stops:
            self._timer = self._reactor.callLater(_IDLE, self._end_threads)
        return result

    def _end_threads(self) -> None:
        self._timer = None
        for _ in range(self._pool.workers):
            self._pool.stopAWorker()

    def prepare_stop(self) -> None:
        """Cancel the timer. Functions that run, and those that wait, are not affected."""
        self._stops = True
        self._cancel()

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """Run the functions that wait, then end the threads. Wait for the end.

        Do not call this in the reactor's thread, which it would block. Call `prepare_stop` before.
        """
        self._pool.stop()
