"""A port whose connections are led somewhere else, each in a thread of its own."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

__all__ = ["Door", "connected", "pieces"]


class Door:
    """Listens at a port of 127.0.0.1.

    :param serve: is called with each connection, in its thread; the connection ends with it.
    """

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections; those that are made end with their ends."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        # Ends when the listener is closed.
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._run, args=(client,), daemon=True).start()

    def _run(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            self._serve(client)


def connected(port: int) -> socket.socket:
    """Return a connection to a port of 127.0.0.1."""
    return socket.create_connection(("127.0.0.1", port))


def pieces(*ends: socket.socket) -> Iterator[tuple[socket.socket, bytes]]:
    """Yield what arrives, and where, until one of the ends is closed."""
    with selectors.DefaultSelector() as selector:
        for end in ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(end, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                data = source.recv(65536)
                if not data:
                    return
                yield source, data
