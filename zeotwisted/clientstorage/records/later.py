"""Answers to loads that no thread waits for: they go into the cache, and then to somebody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ZODB.POSException import POSKeyError

from ..calls import Answer

__all__ = ["Each", "Kept"]


class Kept:
    """Puts an answer into the cache before it is passed on.

    :param keep: puts it there, and returns what to pass on.
    """

    __slots__ = ("_answer", "_keep")

    def __init__(self, answer: Answer, keep: Callable[[Any], Any]) -> None:
        self._answer = answer
        self._keep = keep

    def callback(self, value: Any) -> None:
        """See `calls.Answer`."""
        try:
            kept = self._keep(value)
        except Exception as error:
            self._answer.errback(error)
        else:
            self._answer.callback(kept)

    def errback(self, error: BaseException) -> None:
        """See `calls.Answer`."""
        self._answer.errback(error)


class Each:
    """Makes one answer of those to several loads: what ``loadManyBefore`` answers.

    :param keep: puts the revision with an index into the cache, and returns it.
    :ivar answers: receive the answers to the loads.
    """

    def __init__(self, answer: Answer, count: int, keep: Callable[[int, Any], Any]) -> None:
        self.answers: Sequence[Answer] = [_One(self, index) for index in range(count)]
        self.keep = keep
        self._answer = answer
        self._results: list[Any] = [None] * count
        self._missing = count
        self._error: BaseException | None = None

    def received(self, index: int, result: Any) -> None:
        """Note an answer. An exception other than `POSKeyError` becomes the answer to all."""
        if isinstance(result, BaseException) and not isinstance(result, POSKeyError):
            self._error = result
        self._results[index] = False if isinstance(result, POSKeyError) else result
        self._missing -= 1
        if self._missing:
            return
        if self._error is None:
            self._answer.callback(self._results)
        else:
            self._answer.errback(self._error)


class _One:
    def __init__(self, together: Each, index: int) -> None:
        self._together = together
        self._index = index

    def callback(self, value: Any) -> None:
        try:
            kept = self._together.keep(self._index, value)
        except Exception as error:
            kept = error
        self._together.received(self._index, kept)

    def errback(self, error: BaseException) -> None:
        self._together.received(self._index, error)
