"""The calls that wait for their answers."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

from twisted.internet.defer import Deferred

from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.protocol import WireError

from .waiter import Answer

__all__ = ["Calls"]


class Calls:
    """The calls that wait for an answer, by their ids.

    `when_idle` and `check_idle` belong to the reactor's thread; the others may be used in any.
    """

    def __init__(self) -> None:
        # None once the connection is lost: a later call must fail, or it would wait for ever.
        self._answers: dict[Any, Deferred[Any] | Answer] | None = {}
        self._lock = Lock()
        self._reason: Exception | None = None
        self._idle: Deferred[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the connection is not lost."""
        return self._answers is not None

    @property
    def watched(self) -> bool:
        """Whether a Deferred of `when_idle` waits."""
        return self._idle is not None

    def __len__(self) -> int:
        """Return how many answers are outstanding."""
        return len(self._answers or ())

    def check_open(self) -> None:
        """Check that the connection is not lost.

        :raises ClientDisconnected: the connection is lost.
        """
        if self._answers is None:
            raise ClientDisconnected(str(self._reason or "connection lost"))

    def expect(self, id: int, answer: Deferred[Any] | Answer) -> None:
        """Register `answer` for the answer to a call. Raises as `check_open` does."""
        with self._lock:
            self.check_open()
            self._answers[id] = answer  # type: ignore[index]

    def expect_all(self, ids: Sequence[int], answers: Sequence[Deferred[Any] | Answer]) -> None:
        """Do what `expect` does for several calls. If it raises, none is registered."""
        with self._lock:
            self.check_open()
            self._answers.update(zip(ids, answers, strict=True))  # type: ignore[union-attr]

    def get(self, id: Any) -> Deferred[Any] | Answer | None:
        """Return what is registered for a call, or None."""
        answers = self._answers
        return None if answers is None else answers.get(id)

    def take(self, id: Any) -> Deferred[Any] | Answer:
        """Remove a call and return what is registered for it.

        :raises WireError: there is no such call.
        """
        answers = self._answers
        answer = None if answers is None else answers.pop(id, None)
        if answer is None:
            raise WireError(f"an answer to a call that was not made: {id!r}")
        return answer

    def lose(self, reason: Exception) -> list[Deferred[Any] | Answer] | None:
        """Remove all calls and return what is registered for them; None if lost already.

        :param reason: the reason that later calls raise.
        """
        with self._lock:
            answers, self._answers = self._answers, None
            if answers is None:
                return None
            self._reason = reason
            return list(answers.values())

    def abandon(self) -> None:
        """After fork: replace the lock; the thread that held it does not exist in the child."""
        self._lock = Lock()
        self._answers = None
        self._reason = ClientDisconnected("the connection belongs to the parent process")

    def when_idle(self) -> Deferred[None]:
        """Return a Deferred that fires as soon as no answer is outstanding."""
        self._idle = idle = Deferred[None]()
        self.check_idle()
        return idle

    def check_idle(self) -> None:
        """Fire the Deferred of `when_idle` if no call waits for an answer."""
        if self._idle is not None and not self._answers:
            idle, self._idle = self._idle, None
            idle.callback(None)
