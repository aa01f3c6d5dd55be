"""The endpoints for a server's address."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.threads import deferToThreadPool

from zeotwisted.arguments import Address, describe, parse_address

__all__ = ["Address", "describe", "endpoints", "parse_address"]


def endpoints(reactor: Any, address: Address, timeout: float) -> Deferred[Any]:
    """Return a Deferred of a list of endpoints, to be tried one after the other.

    Each call looks the name up again, in a thread of the given reactor: Twisted's own resolver
    would use the installed one.

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
