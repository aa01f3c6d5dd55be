"""What stands between a daemon and its database: it passes on, swallows, refuses, or leads away."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from enum import Enum

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
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

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
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        # Ends when the listener is closed.
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self._way is Way.REFUSE:
                return
            self._passes.wait()
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                with self._lock:
                    self._ends |= {client, server}
                try:
                    self._pass(client, server)
                finally:
                    with self._lock:
                        self._ends -= {client, server}

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        others = {client: server, server: client}
        with selectors.DefaultSelector() as selector:
            for end in others:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    data = source.recv(65536)
                    # What came meanwhile is late, and not lost: it is TCP.
                    self._passes.wait()
                    if not data:
                        return
                    others[source].sendall(data)
