"""Where a thread waits for an answer."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Answer", "Waiter"]


class Answer(Protocol):
    """What takes the answer to a call, in any thread."""

    def callback(self, value: Any) -> None:
        """This is the answer."""

    def errback(self, error: BaseException) -> None:
        """The answer is an exception, or there will be none."""


class Waiter:
    """The blocking end of an answer, which comes in any thread, or in this one.

    A bare lock is the fastest way to wake a thread, and Ctrl-C interrupts the wait for it.

    :param then: is given the answer as soon as it is read, before anything that follows it is; what
        it returns or raises is what the thread gets.
    :param anywhere: whether `then` may run in any thread. If not, it runs in the one that waits, or
        in the reactor's; and when it raises anything, the connection ends.
    :ivar done: whether the thread need not wait any more.
    :ivar certain: for the thread that waits: whether it is known that it does not lead.
    :ivar answered: whether there was an answer, whatever `then` made of it.
    """

    __slots__ = ("_error", "_lock", "_then", "_value", "answered", "anywhere", "certain", "done")

    def __init__(self, then: Callable[[Any], Any] | None = None, anywhere: bool = True) -> None:
        self.answered = self.certain = self.done = False
        self.anywhere = anywhere
        self._then = then
        self._lock = allocate_lock()
        self._lock.acquire()
        self._value: Any = None
        self._error: BaseException | None = None

    def follow(self, deferred: Deferred[Any]) -> None:
        """Wait for what becomes of `deferred`."""
        deferred.addCallbacks(self.callback, self._fail)

    def callback(self, value: Any) -> None:
        """This is the answer."""
        self.answered = True
        try:
            self._value = value if self._then is None else self._then(value)
        except Exception as error:
            self.errback(error)
            if not self.anywhere:
                raise
        else:
            self.done = True
            self.wake()

    def errback(self, error: BaseException) -> None:
        """The answer is an exception, or there will be none."""
        if not self.done:
            self._error = error
            self.done = True
        self.wake()

    def _fail(self, failure: Failure) -> None:
        assert failure.value is not None
        self.errback(failure.value)

    def wake(self) -> None:
        """End a sleep."""
        # Somebody else may just have done so.
        with suppress(RuntimeError):
            self._lock.release()

    def sleep(self) -> None:
        """Wait until somebody wakes this thread, or has done so."""
        self._lock.acquire()

    def wait(self, timeout: float = -1.0) -> Any:
        """Return the answer, or raise it, as soon as it is there.

        :param timeout: how long (seconds) to wait; for ever if it is negative.
        :raises TimeoutError: that was too short.
        """
        while not self.done:
            if not self._lock.acquire(timeout=timeout):
                raise TimeoutError
        if self._error is not None:
            try:
                raise self._error
            finally:
                # The traceback refers to this frame.
                self._error = None
        return self._value
