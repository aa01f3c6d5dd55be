"""Locks with any number of waiters."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

__all__ = ["FairTurns", "Turns"]


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


class FairTurns:
    """Lets some calls run at the same time. Owners whose calls wait get their turns in a circle.

    So an owner with a thousand calls does not keep another one waiting for longer than the calls
    that run already.

    :param most: how many calls run at the same time.
    """

    #: What a call returns that was waiting when its owner left.
    LEFT = object()

    def __init__(self, most: int) -> None:
        self._free = most
        self._letting_in = False
        # The owners whose calls wait, in the order of their turns.
        self._waiting: OrderedDict[object, deque[Deferred[bool]]] = OrderedDict()

    def __len__(self) -> int:
        """The number of calls that wait."""
        return sum(map(len, self._waiting.values()))

    async def run(self, owner: object, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function when it is the owner's turn, and return its result.

        The function returns a Deferred. The result is `LEFT` if the owner has left before its turn.
        """
        if self._free and not self._waiting:
            self._free -= 1
        elif not await self._turn_of(owner):
            return self.LEFT
        try:
            return await function(*args)
        finally:
            self._free += 1
            self._let_in()

    def _turn_of(self, owner: object) -> Deferred[bool]:
        turn: Deferred[bool] = Deferred()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._let_in()
        return turn

    def leave(self, owner: object) -> None:
        """Drop the calls of an owner that wait."""
        for turn in self._waiting.pop(owner, ()):
            turn.callback(False)

    def _let_in(self) -> None:
        if self._letting_in:
            # The loop below is running, and calls this code. It lets the next call in.
            return
        self._letting_in = True
        try:
            while self._waiting and self._free:
                self._free -= 1
                owner, turns = self._waiting.popitem(last=False)
                turn = turns.popleft()
                if turns:
                    self._waiting[owner] = turns
                turn.callback(True)
        finally:
            self._letting_in = False
