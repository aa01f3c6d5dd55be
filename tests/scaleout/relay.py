"""What stands between a daemon and its database: it passes on, swallows, refuses, or leads away."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from enum import Enum

from .door import Door, connected, pieces

__all__ = ["Relay", "Way"]


class Way(Enum):
    """What happens to what comes."""

    PASS = "pass"
    #: Connections are made and stay, and nothing arrives at either end.
    SWALLOW = "swallow"
    #: Connections are broken, and no new ones are made.
    REFUSE = "refuse"


class Relay:
    """The relay.

    :param port: of the database, at 127.0.0.1.
    :ivar port: of the relay.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._way = Way.PASS
        self._passes = threading.Event()
        self._passes.set()
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._door = Door(self._serve)
        self.port = self._door.port

    def lead_to(self, port: int) -> None:
        """Break all connections; new ones are made to another port."""
        self._target = port
        self.cut()

    def go(self, way: Way) -> None:
        """Treat all connections in this way from now on."""
        self._way = way
        if way is Way.SWALLOW:
            self._passes.clear()
        else:
            self._passes.set()
        if way is Way.REFUSE:
            self.cut()

    def cut(self) -> None:
        """Break all connections."""
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let nothing through any more."""
        self.go(Way.REFUSE)
        self._door.close()

    def _serve(self, client: socket.socket) -> None:
        if self._way is Way.REFUSE:
            return
        self._passes.wait()
        with connected(self._target) as server:
            with self._lock:
                self._ends |= {client, server}
            try:
                self._pass(client, server)
            finally:
                with self._lock:
                    self._ends -= {client, server}

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        others = {client: server, server: client}
        for source, data in pieces(client, server):
            # What came meanwhile is late, and not lost: it is TCP.
            self._passes.wait()
            others[source].sendall(data)
        self._passes.wait()
