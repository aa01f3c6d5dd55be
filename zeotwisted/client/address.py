"""Where a server is."""

from __future__ import annotations

import socket
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.threads import deferToThreadPool

__all__ = ["Address", "describe", "endpoints", "parse_address"]

#: A host and a port, or the path of a Unix socket.
Address: TypeAlias = "tuple[str, int] | str"


def parse_address(addr: Any) -> list[Address]:
    """Return the addresses that `addr` means, in any of the forms that ZEO takes.

    :param addr: a port on this machine, a ``(host, port)`` pair, the path of a Unix socket, or a
        list of such.
    :raises ValueError: it is none of them.
    """
    if isinstance(addr, list) or (isinstance(addr, tuple) and not _is_pair(addr)):
        addresses = [address for item in addr for address in parse_address(item)]
        if not addresses:
            raise ValueError("the list of server addresses is empty")
        return addresses
    if isinstance(addr, int) and not isinstance(addr, bool):
        addr = ("127.0.0.1", addr)
    if isinstance(addr, str) and addr:
        return [addr]
    if _is_pair(addr):
        host, port = addr
        if 0 < port < 65536:
            return [(host or "127.0.0.1", port)]
    raise ValueError(
        f"{addr!r} is not the address of a server; give a port, a (host, port) pair or the path of "
        "a Unix socket"
    )


def _is_pair(addr: Any) -> bool:
    return (
        isinstance(addr, tuple)
        and len(addr) == 2
        and isinstance(addr[0], str)
        and isinstance(addr[1], int)
    )


def describe(address: Address) -> str:
    """Return the address as people write it."""
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def endpoints(reactor: Any, address: Address, timeout: float) -> Deferred[Any]:
    """Return a Deferred of the endpoints to try, one after the other.

    Names are looked up anew each time, in a thread, and never by the installed reactor.

    :param timeout: how long (seconds) a single attempt may take.
    """
    if isinstance(address, str):
        return succeed([UNIXClientEndpoint(reactor, address, timeout=timeout)])
    host, port = address
    try:
        found = _look_up(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        looked_up: Deferred[Any] = deferToThreadPool(
            reactor, reactor.getThreadPool(), _look_up, host, port
        )
    else:
        looked_up = succeed(found)
    return looked_up.addCallback(
        lambda found: [_endpoint(reactor, family, address, timeout) for family, address in found]
    )


def _look_up(host: str, port: int, flags: int = 0) -> list[tuple[int, tuple[Any, ...]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(int(family), address) for family, _, _, _, address in found]


def _endpoint(
    reactor: Any, family: int, address: tuple[Any, ...], timeout: float
) -> IStreamClientEndpoint:
    kind = TCP6ClientEndpoint if family == socket.AF_INET6 else TCP4ClientEndpoint
    endpoint: IStreamClientEndpoint = kind(reactor, address[0], address[1], timeout=timeout)
    return endpoint
