"""`Waiter`, in which a thread waits for an answer."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Answer", "Waiter"]


class Answer(Protocol):
    """Receives the answer to a call, in any thread."""

    def callback(self, value: Any) -> None:
        """Receive the answer."""

    def errback(self, error: BaseException) -> None:
        """Receive an exception: the answer is one, or the connection is lost."""


class Waiter:
    """An answer that a thread waits for. The answer may come in any thread, also in this one.

    It uses a bare lock, which is the fastest way to wake a thread, and which Ctrl-C interrupts.

    :param then: is called with the answer before the next message is processed. The thread gets
        what it returns or raises.
    :param anywhere: whether `then` may run in any thread. If not, it runs in the thread that waits
        or in the reactor's thread, and an exception that it raises closes the connection.
    :ivar done: whether the answer, or an exception, is there.
    :ivar certain: whether the waiting thread certainly does not lead.
    :ivar answered: whether the server has answered, even if `then` failed.
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
        """Take the result of `deferred` as the answer."""
        deferred.addCallbacks(self.callback, self._fail)

    def callback(self, value: Any) -> None:
        """See `Answer`."""
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
        """See `Answer`."""
        if not self.done:
            self._error = error
            self.done = True
        self.wake()

    def _fail(self, failure: Failure) -> None:
        assert failure.value is not None
        self.errback(failure.value)

    def wake(self) -> None:
        """End a `sleep`, or the next one."""
        # RuntimeError: another thread has released the lock already.
        with suppress(RuntimeError):
            self._lock.release()

    def sleep(self) -> None:
        """Wait for a call of `wake`. Return at once if there was one before."""
        self._lock.acquire()

    def wait(self, timeout: float = -1.0) -> Any:
        """Wait for the answer; return it, or raise it if it is an exception.

        :param timeout: how long (seconds) to wait; for ever if it is negative.
        :raises TimeoutError: there was no answer in time.
        """
        while not self.done:
            if not self._lock.acquire(timeout=timeout):
                raise TimeoutError
        if self._error is not None:
            try:
                raise self._error
            finally:
                # Break the reference cycle: the traceback refers to this frame.
                self._error = None
        return self._value
