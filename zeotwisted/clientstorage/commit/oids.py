"""Oids that the server has given to this client for new objects."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable

__all__ = ["NewOids"]


class NewOids:
    """A store of such oids, for any number of threads."""

    def __init__(self) -> None:
        self._oids: deque[bytes] = deque()

    def take(self, ask: Callable[[], Iterable[bytes]]) -> bytes:
        """Return an oid that was never used.

        :param ask: gets more from the server.
        """
        while True:
            # Another thread may take the last one at any moment.
            with contextlib.suppress(IndexError):
                return self._oids.popleft()
            self._oids.extend(ask())

    def clear(self) -> None:
        """Forget all: somebody else may have been given them, too."""
        self._oids.clear()
