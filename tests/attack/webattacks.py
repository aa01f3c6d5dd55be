"""Attacks by visitors over HTTP; see `attacks`."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import suppress

from .peers import Address, Attack, connect, hold, many

__all__ = ["BY_VISITORS"]

_GET = b"GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n"

#: Requests that a server must not believe, and that must not cost it anything.
_NONSENSE = (
    b"GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET http://evil.example/metrics HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET //metrics HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /page.css/../page.html HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /disconnect?client=" + b"9" * 5000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"DELETE / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"CONNECT localhost:8100 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"x" * 4000 + b" / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"POST /disconnect HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n"
    b"sec-fetch-site: cross-site\r\ncontent-type: application/x-www-form-urlencoded\r\n"
    b"content-length: 16\r\n\r\nclient=1&token=x",
    b"POST /disconnect HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic " + b"QUFB" * 2000 + b"\r\n\r\n",
    b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\0" * 10000,
)


def _send(sock: socket.socket, data: bytes) -> bool:
    try:
        sock.sendall(data)
    except OSError:
        return False
    return True


def _visitors(address: Address, number: int) -> list[socket.socket]:
    return [sock for _ in range(number) if (sock := connect(address)) is not None]


def silent_visitors(address: Address, scale: float) -> Iterator[None]:
    """Connections that ask for nothing."""
    yield from hold(_visitors(address, many(scale, 1100)))


def slow_requests(address: Address, scale: float) -> Iterator[None]:
    """Requests that come byte by byte; whoever is turned away comes again."""
    held: list[socket.socket] = []
    letters = itertools.cycle(_GET % b"/metrics")
    while True:
        held += _visitors(address, min(10, many(scale, 100) - len(held)))
        letter = bytes([next(letters)])
        gone = [sock for sock in held if not _send(sock, letter)]
        held = [sock for sock in held if sock not in gone]
        for sock in gone:
            sock.close()
        yield


def endless_requests(address: Address, scale: float) -> Iterator[None]:
    """Headers, and bodies, that have no end."""
    starts = (
        b"GET / HTTP/1.1\r\n",
        b"POST /disconnect HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999\r\n\r\n",
        b"POST /disconnect HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    while True:
        for start in starts:
            for sock in _visitors(address, many(scale, 5)):
                _send(sock, start)
                while _send(sock, b"10\r\nx: 345678901234\r\n" * 1000):
                    pass
                sock.close()
        yield


def giant_headers(address: Address, scale: float) -> Iterator[None]:
    """Requests with megabytes of headers, all at once."""
    giant = b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * many(scale, 4_000_000)
    while True:
        for sock in _visitors(address, many(scale, 10)):
            _send(sock, giant)
            sock.close()
        yield


def _deaf(address: Address, number: int, path: bytes) -> list[socket.socket]:
    assert isinstance(address, tuple)
    held = []
    for _ in range(number):
        sock = socket.socket()
        # The system takes hardly anything for it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.settimeout(5)
        with suppress(OSError):
            sock.connect(address)
            sock.sendall(_GET % path)
        held.append(sock)
    return held


def deaf_scrapers(address: Address, scale: float) -> Iterator[None]:
    """Visitors that ask for metrics and pages, and read nothing."""
    number = many(scale, 100)
    yield from hold(_deaf(address, number, b"/metrics"), _deaf(address, number, b"/"))


def deaf_viewers(address: Address, scale: float) -> Iterator[None]:
    """Visitors that watch the page, and read nothing."""
    yield from hold(_deaf(address, many(scale, 100), b"/events"))


def viewers(address: Address, scale: float) -> Iterator[None]:
    """Visitors that watch the page, and take a few bytes now and then."""
    held = _deaf(address, many(scale, 100), b"/events")
    while True:
        for sock in held:
            sock.settimeout(0.001)
            with suppress(OSError):
                sock.recv(10)
        yield


def busy_scrapers(address: Address, scale: float) -> Iterator[None]:
    """Visitors that ask for the page and the metrics as fast as they can."""
    paths = (b"/", b"/metrics", b"/ready", b"/page.js")
    while True:
        held = _visitors(address, many(scale, 20))
        for number, sock in enumerate(held):
            _send(sock, _GET % paths[number % len(paths)])
        for sock in held:
            with suppress(OSError):
                while sock.recv(2**16):
                    pass
            sock.close()
        yield


def nonsense(address: Address, scale: float) -> Iterator[None]:
    """Requests that mean another server, another path, or nothing."""
    while True:
        for request in _NONSENSE:
            for sock in _visitors(address, many(scale, 2)):
                _send(sock, request)
                with suppress(OSError):
                    sock.recv(2**16)
                sock.close()
        yield


BY_VISITORS: tuple[Attack, ...] = (
    silent_visitors,
    slow_requests,
    endless_requests,
    giant_headers,
    deaf_scrapers,
    deaf_viewers,
    viewers,
    busy_scrapers,
    nonsense,
)
