"""Tells the server from time to time what the application uses of the cache."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from ZODB.utils import z64

from zeotwisted.exceptions import ClientDisconnected

__all__ = ["Telling"]

#: How long (seconds) after the beginning of a connection; after each time twice as long, at most
#: this.
_FIRST = 5.0
_MOST = 3600.0

#: How many records of the cache to look at at a time, and how long (seconds) to wait then, so that
#: neither side notices.
_SOME = 1000
_BETWEEN = 0.05


class Telling:
    """Tells one server. Use it in the reactor's thread.

    :param requested: see `records.Coherence.requested`.
    :param tell: tells the joined oids of up to `_SOME` objects.
    :param later: calls a function after some seconds.
    """

    def __init__(
        self,
        requested: Callable[[bytes, int], tuple[list[bytes], bytes | None]],
        tell: Callable[[bytes], None],
        later: Callable[..., IDelayedCall],
    ) -> None:
        self._requested = requested
        self._tell = tell
        self._later = later
        self._pause = _FIRST
        self._next: IDelayedCall | None = later(_FIRST, self._go_on, z64)

    def _go_on(self, first: bytes) -> None:
        self._next = None
        oids, first_left = self._requested(first, _SOME)
        if oids:
            try:
                self._tell(b"".join(oids))
            except ClientDisconnected:
                # The next connection has one of its own.
                return
        if first_left is None:
            self._pause = min(2 * self._pause, _MOST)
            self._next = self._later(self._pause, self._go_on, z64)
        else:
            self._next = self._later(_BETWEEN, self._go_on, first_left)

    def stop(self) -> None:
        """End it: the connection is lost."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
