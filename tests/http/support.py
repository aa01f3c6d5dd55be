"""A server with HTTP, in a thread of the test's process, and raw requests."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint
from ZODB.MappingStorage import MappingStorage

from tests.storageserver.served import Served, serving
from zeotwisted.access import Access
from zeotwisted.http import HTTPPlace, HTTPService
from zeotwisted.storageserver import ServerOptions

TIMEOUT = 20


class Web:
    """A server that runs, and its HTTP.

    :ivar served: the server.
    :ivar address: where HTTP is: host and port, or the path of a socket.
    """

    def __init__(self, served: Served, http: HTTPService) -> None:
        self.served = served
        self.http = http
        place = served.ask(http.address)
        self.address: Any = (place.host, place.port) if hasattr(place, "port") else place.name

    def connect(self) -> socket.socket:
        """Return a connection to HTTP."""
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, TIMEOUT)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        sock.connect(self.address)
        return sock

    def get(self, path: str, **headers: str) -> tuple[int, Mapping[str, str], str]:
        """Return status, headers (with names in small letters) and body."""
        return self.ask("GET", path, **headers)

    def ask(
        self, method: str, path: str, body: str = "", **headers: str
    ) -> tuple[int, Mapping[str, str], str]:
        """Make a request; underscores in names of headers stand for hyphens."""
        given = {"host": "localhost"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        if body:
            given |= {
                "content-length": str(len(body)),
                "content-type": "application/x-www-form-urlencoded",
            }
        lines = [
            f"{method} {path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in given.items()),
        ]
        with self.connect() as sock:
            sock.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
            return parsed(all_of(sock))


def all_of(sock: socket.socket) -> bytes:
    """Return what comes until the end of a connection."""
    found = b""
    while data := sock.recv(65536):
        found += data
    return found


def parsed(answer: bytes) -> tuple[int, Mapping[str, str], str]:
    """Return status, headers and body of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in pairs}, body.decode()


@contextmanager
def web(
    storages: Mapping[str, Any] | None = None,
    access: Access | None = None,
    names: frozenset[str] = frozenset(),
    endpoint: Any = None,
    options: ServerOptions | None = None,
) -> Iterator[Web]:
    """Serve storages, and HTTP at a port of the system's.

    :param endpoint: makes another endpoint of a reactor.
    """
    with serving(storages or {"1": MappingStorage()}, options, access) as served:
        reactor = served.reactor
        make = endpoint or (lambda reactor: TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"))
        place = HTTPPlace("a place", make(reactor), None, names)
        http = served.ask(HTTPService, reactor, served.server, place, access, "1.0")
        served.ask(http.listen)
        try:
            yield Web(served, http)
        finally:
            served.ask(http.stopService)
