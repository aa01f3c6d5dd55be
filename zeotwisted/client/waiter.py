"""Where a thread waits for what a reactor brings."""

from __future__ import annotations

from _thread import allocate_lock
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Waiter"]


class Waiter:
    """The blocking end of a Deferred.

    A bare lock is the fastest way to wake a thread, and Ctrl-C interrupts the wait for it.
    """

    __slots__ = ("_error", "_lock", "_value")

    def __init__(self, deferred: Deferred[Any]) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self._value: Any = None
        self._error: BaseException | None = None
        deferred.addCallbacks(self._succeed, self._fail)

    def _succeed(self, value: Any) -> None:
        self._value = value
        self._lock.release()

    def _fail(self, failure: Failure) -> None:
        self._error = failure.value
        self._lock.release()

    def wait(self, timeout: float = -1.0) -> Any:
        """Return the Deferred's result, or raise its exception, as soon as it has fired.

        :param timeout: how long (seconds) to wait; for ever if it is negative.
        :raises TimeoutError: that was too short.
        """
        if not self._lock.acquire(timeout=timeout):
            raise TimeoutError
        if self._error is not None:
            try:
                raise self._error
            finally:
                # The traceback refers to this frame.
                self._error = None
        return self._value
