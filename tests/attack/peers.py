"""What attacks are made of."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

from tests.storageserver.conftest import RawClient
from zeotwisted.protocol.session import WireError

#: Host and port, or the path of a Unix socket.
Address: TypeAlias = "tuple[str, int] | str"
Attack: TypeAlias = "Callable[[Address, float], Iterator[None]]"

LATEST = b"\x7f" + b"\xff" * 7

#: What may happen to an attacker.
ENDED = (OSError, WireError, AssertionError)

#: How long (seconds) an attacker waits for a daemon that does not read.
_PATIENCE = 0.2


def many(scale: float, number: int) -> int:
    """Return the number of connections, bytes or calls of an attack of this scale."""
    return max(2, int(number * scale))


def connect(address: Address) -> socket.socket | None:
    assert isinstance(address, tuple)
    with suppress(OSError):
        sock = socket.create_connection(address, 5)
        sock.settimeout(_PATIENCE)
        return sock
    return None


def registered(address: Address, number: int) -> list[RawClient]:
    """Return clients that have registered, at most `number` of them."""
    clients = []
    for _ in range(number):
        with suppress(*ENDED):
            client = RawClient(address)
            client.ask("register", "1", False)
            client.socket.settimeout(_PATIENCE)
            clients.append(client)
    return clients


def send(client: RawClient, data: bytes) -> bool:
    """Send; return whether the daemon has taken all of it."""
    try:
        client.socket.sendall(data)
    except OSError:
        return False
    return True


def hold(*things: Any) -> Iterator[None]:
    """Keep what there is."""
    while things:
        yield
