"""A lock with any number of waiters."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

__all__ = ["Turns"]


class Turns:
    """A lock that its waiters get one after the other, in a loop.

    Twisted's `DeferredLock` runs the next waiter inside `release`. If the waiters finish at once,
    the stack grows with their number. A client chooses this number, so it could exceed the
    recursion limit.
    """

    def __init__(self) -> None:
        self._taken = False
        self._letting_in = False
        self._waiting: deque[Deferred[None]] = deque()

    def __len__(self) -> int:
        """The number of waiters."""
        return len(self._waiting)

    def acquire(self) -> Deferred[None]:
        """Return a Deferred that fires when the caller has the lock.

        The caller has to `release` the lock. A Deferred that is cancelled before it fires leaves
        the queue.
        """
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        self._let_in()
        return turn

    def release(self) -> None:
        """Release the lock."""
        assert self._taken
        self._taken = False
        self._let_in()

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Call a function with the lock held; return a Deferred of its result.

        If the function returns a Deferred, the lock is held until this Deferred fires.
        """
        return Deferred.fromCoroutine(self._run(function, args))

    async def _run(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        await self.acquire()
        try:
            return await maybeDeferred(function, *args)
        finally:
            self.release()

    def _let_in(self) -> None:
        if self._letting_in:
            # The loop below is running, and calls this code. It lets the next waiter in.
            return
        self._letting_in = True
        try:
            while self._waiting and not self._taken:
                self._taken = True
                self._waiting.popleft().callback(None)
        finally:
            self._letting_in = False
