"""Oids that the server has given to this client for new objects."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable

__all__ = ["NewOids"]


class NewOids:
    """The oids that are not used yet. All methods may be called in any thread."""

    def __init__(self) -> None:
        self._oids: deque[bytes] = deque()

    def take(self, ask: Callable[[], Iterable[bytes]]) -> bytes:
        """Return an oid that was never used.

        :param ask: gets more oids from the server.
        """
        while True:
            # IndexError: there are none; another thread may have taken the last one.
            with contextlib.suppress(IndexError):
                return self._oids.popleft()
            self._oids.extend(ask())

    def clear(self) -> None:
        """Drop all oids: another client may have got the same ones."""
        self._oids.clear()
