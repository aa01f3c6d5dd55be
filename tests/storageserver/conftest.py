"""A daemon and raw peers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import zeotwisted
from zeotwisted.protocol.session import ClientHandshake, Failed, Replied, Session

TIMEOUT = 20


def _connected(address: tuple[str, int] | str) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_connection(address, TIMEOUT)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(TIMEOUT)
    sock.connect(address)
    return sock


class RawClient:
    """A client that sends whatever a test wants, over a real socket.

    :param address: host and port, or the path of a Unix socket.
    """

    def __init__(self, address: tuple[str, int] | str, shake_hands: bool = True) -> None:
        self.socket = _connected(address)
        self.session = Session(ClientHandshake())
        self.events: list[Any] = []
        if shake_hands:
            self.receive()
            self.socket.sendall(self.session.greeting)

    def receive(self) -> bool:
        """Wait for bytes; return whether there were any before the end."""
        data = self.socket.recv(65536)
        self.events.extend(self.session.receive(data))
        return bool(data)

    def ask(self, name: str, *args: Any) -> Any:
        """Call the server and return its answer."""
        self.socket.sendall(self.session.call(1, name, *args))
        while True:
            while self.events:
                event = self.events.pop(0)
                if type(event) is Replied:
                    if name == "register":
                        self.session.registered()
                    return event.value
                if type(event) is Failed:
                    raise event.error
            assert self.receive(), "the server has ended the connection"

    def is_dropped(self) -> bool:
        """Wait for the server to end the connection, and not for ever."""
        try:
            while self.receive():
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Any]]:
    """Return a function that starts a daemon and returns its address."""
    stops = []

    def start(*args: Any, **kwargs: Any) -> Any:
        address, stop = zeotwisted.server(*args, **kwargs)
        stops.append(stop)
        return address

    yield start
    for stop in stops:
        stop()
