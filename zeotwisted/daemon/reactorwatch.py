"""Finds a storage that runs the daemon's reactor, which only the daemon can do.

A reactor runs once, in one thread. The storages of zc.zrs start the installed one in a thread of
their own. twistd would find it running, print a traceback and end as if all were well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["ReactorTaken", "ReactorWatch"]

#: How long (seconds) to wait for a thread that a storage has started, to see what it runs.
_PATIENCE = 1.0

T = TypeVar("T")


class ReactorTaken(Exception):
    """A storage runs the daemon's reactor."""


class ReactorWatch:
    """Opens storages, and notices when one of them starts the reactor.

    :param reactor: the daemon's.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._taken = threading.Event()
        self._opener = threading.get_ident()
        # If it runs already, this is called at once.
        reactor.callWhenRunning(self._runs)

    def _runs(self) -> None:
        if threading.get_ident() != self._opener:
            self._taken.set()

    def opened(self, open: Callable[[], T]) -> T:
        """Return what `open` returns.

        :raises ReactorTaken: it has started the reactor in another thread. The storage is closed,
            and the reactor is stopped.
        """
        before = set(threading.enumerate())
        storage = open()
        # A thread that was just started may not have come to the reactor yet.
        if set(threading.enumerate()) - before and self._taken.wait(_PATIENCE):
            close = getattr(storage, "close", None)
            if close is not None:
                close()
            self._reactor.callFromThread(self._reactor.stop)
            raise ReactorTaken
        return storage
