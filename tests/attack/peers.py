"""What attacks are made of."""

from __future__ import annotations

import socket
import time
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

#: How long (seconds) an attacker waits for a daemon that does not read, and for one that does not
#: let it in: what the attack before it held may still be counted.
_PATIENCE = 0.2
_ENTRANCE = 20.0


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


def let_in(address: Address) -> RawClient:
    """Return a client that has registered; it tries again until it is let in.

    :raises TimeoutError: it is not.
    """
    end = time.monotonic() + _ENTRANCE
    while time.monotonic() < end:
        for client in registered(address, 1):
            return client
        time.sleep(_PATIENCE)
    raise TimeoutError(f"no client is let in for {_ENTRANCE:g} seconds")


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
