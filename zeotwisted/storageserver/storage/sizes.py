"""The sizes of a storage as far as they are known, for reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["KnownSizes"]

#: A storage on another machine is asked no sooner again than after this time (seconds).
_AGAIN = 30.0


class KnownSizes:
    """Asks a storage for its sizes when somebody wants to know, and does not wait for the answer.

    :param sizes: returns the sizes; it may take long.
    :param call: calls a function; it may return a Deferred.
    """

    _log = Logger()

    def __init__(
        self, sizes: Callable[[], dict[str, Any]], call: Callable[..., Any], clock: IReactorTime
    ) -> None:
        self._sizes = sizes
        self._call = call
        self._clock = clock
        self._known: dict[str, Any] = {}
        self._next = 0.0

    def known(self) -> dict[str, Any]:
        """Return the sizes; they may be those of half a minute ago, or none."""
        if self._clock.seconds() < self._next:
            return self._known
        answer = self._call(self._sizes)
        if isinstance(answer, Deferred):
            # Also while it is under way.
            self._next = self._clock.seconds() + _AGAIN
            answer.addCallbacks(self._keep, self._failed)
        else:
            self._known = answer
        return self._known

    def _keep(self, sizes: dict[str, Any]) -> None:
        self._known = sizes

    def _failed(self, failure: Failure) -> None:
        # The database cannot be reached, which others report.
        self._log.debug("the sizes of the storage are not known: {error}", error=failure.value)
