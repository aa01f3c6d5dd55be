"""The connections that RelStorage opens, so that nobody waits for ever for a server that hangs."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["OpenedConnections"]


class OpenedConnections:
    """Those that are opened from now on. RelStorage has no limit for how long a statement may take.

    :param storage: a RelStorage on PostgreSQL.
    """

    def __init__(self, storage: Any) -> None:
        self._sockets: WeakKeyDictionary[Any, _Socket] = WeakKeyDictionary()
        manager: Any = getattr(getattr(storage, "_adapter", None), "connmanager", None)
        if manager is not None:
            manager.add_on_load_opened(self._opened)
            manager.add_on_store_opened(self._opened)

    def _opened(self, cursor: Any, restart: bool = False) -> None:
        connection = cursor.connection
        # Not all drivers tell the number.
        if hasattr(connection, "fileno") and connection not in self._sockets:
            self._sockets[connection] = _Socket(connection.fileno())

    def cut(self) -> None:
        """Break all of them: whoever waits for an answer gets an exception. Call it in any thread.

        The server may do what it was told all the same.
        """
        for each in list(self._sockets.values()):
            each.cut()


class _Socket:
    """A socket of a connection, under a number of its own: the other one may be another's soon.

    :param number: the file descriptor.
    """

    def __init__(self, number: int) -> None:
        self._socket = socket.socket(fileno=os.dup(number))

    def cut(self) -> None:
        # The other end may have done it.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def __del__(self) -> None:
        self._socket.close()
