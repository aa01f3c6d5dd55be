"""Detects a storage that runs the daemon's reactor.

A reactor runs only once, in one thread. The storages of zc.zrs start the installed reactor in a
thread of their own. twistd would then fail to start it, print a traceback, and exit with status 0.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["ReactorTaken", "ReactorWatch"]

#: How long (seconds) to wait for a new thread of a storage to start the reactor.
_PATIENCE = 1.0

T = TypeVar("T")


class ReactorTaken(Exception):
    """A storage runs the daemon's reactor."""


class ReactorWatch:
    """Opens storages, and detects when one of them starts the reactor.

    :param reactor: the daemon's reactor.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._taken = threading.Event()
        self._opener = threading.get_ident()
        # A reactor that runs already calls the function at once, in this thread.
        reactor.callWhenRunning(self._runs)

    def _runs(self) -> None:
        if threading.get_ident() != self._opener:
            self._taken.set()

    def opened(self, open: Callable[[], T]) -> T:
        """Return what `open` returns.

        :raises ReactorTaken: `open` has started the reactor in another thread. The storage is
            closed, and the reactor is stopped.
        """
        before = set(threading.enumerate())
        storage = open()
        # A new thread may not have started the reactor yet, so wait for it.
        if set(threading.enumerate()) - before and self._taken.wait(_PATIENCE):
            close = getattr(storage, "close", None)
            if close is not None:
                close()
            self._reactor.callFromThread(self._reactor.stop)
            raise ReactorTaken
        return storage
