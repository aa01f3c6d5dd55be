"""Letting one after the other in, however many wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

__all__ = ["Turns"]


class Turns:
    """A lock that a loop hands to its waiters.

    Twisted's `DeferredLock` lets the next one in from within the release of the one before. When
    what they do is done at once, the stack grows with their number, which a client decides.
    """

    def __init__(self) -> None:
        self._taken = False
        self._letting_in = False
        self._waiting: deque[Deferred[None]] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def acquire(self) -> Deferred[None]:
        """Return a Deferred that fires when it is the caller's turn, which ends with `release`.

        Cancelled before that, it waits no more.
        """
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        self._let_in()
        return turn

    def release(self) -> None:
        """End a turn."""
        assert self._taken
        self._taken = False
        self._let_in()

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Call a function when it is its turn; return a Deferred of its result.

        The turn ends when the function has returned, or the Deferred that it returned has fired.
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
            # Called from within the loop below, which goes on.
            return
        self._letting_in = True
        try:
            while self._waiting and not self._taken:
                self._taken = True
                self._waiting.popleft().callback(None)
        finally:
            self._letting_in = False
