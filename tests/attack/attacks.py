"""The attacks. Each is a generator: it yields when it has what it wants, and then goes on in steps.

An attack is bounded: in how many connections, bytes and calls it uses. It ignores that the daemon
ends its connections.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

from ZODB.utils import p64, z64

from tests.storageserver.conftest import RawClient
from zeotwisted.protocol.session import WireError

Address: TypeAlias = "tuple[str, int]"
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


def idle_connections(address: Address, scale: float) -> Iterator[None]:
    """Connections that say nothing."""
    held = [connect(address) for _ in range(many(scale, 1100))]
    yield from hold(held)


def slow_greetings(address: Address, scale: float) -> Iterator[None]:
    """Connections that send their greeting byte by byte."""
    held = [sock for _ in range(many(scale, 200)) if (sock := connect(address)) is not None]
    while True:
        for sock in held:
            with suppress(OSError):
                sock.send(b"\0")
        yield


def coming_and_going(address: Address, scale: float) -> Iterator[None]:
    """Connections that end as soon as they are there."""
    while True:
        for _ in range(many(scale, 20)):
            sock = connect(address)
            if sock is not None:
                sock.close()
        yield


def early_bytes(address: Address, scale: float) -> Iterator[None]:
    """Clients that send and send, and do not register."""
    clients: list[RawClient] = []
    while True:
        while len(clients) < many(scale, 20):
            with suppress(*ENDED):
                clients.append(RawClient(address))
                continue
            break
        yield
        clients = [client for client in clients if send(client, client.session.keep_alive() * 500)]


def idle_sessions(address: Address, scale: float) -> Iterator[None]:
    """Clients that register, and are silent then."""
    yield from hold(registered(address, many(scale, 1100)))


def half_messages(address: Address, scale: float) -> Iterator[None]:
    """Clients that send the greater part of a long message."""
    clients = registered(address, many(scale, 50))
    for client in clients:
        send(client, struct.pack(">I", 8 * 2**20) + b"x" * many(scale, 7 * 2**20))
    yield from hold(clients)


def deaf_clients(address: Address, scale: float) -> Iterator[None]:
    """Clients that ask for much, and read nothing."""
    clients = registered(address, many(scale, 50))
    for client in clients:
        load = b"".join(client.session.call(n, "loadBefore", z64, LATEST) for n in range(1, 500))
        while send(client, load):
            pass
    yield from hold(clients)


def _transactions(address: Address, clients: int) -> list[RawClient]:
    held = registered(address, clients)
    for client in held:
        send(client, client.session.oneway("tpc_begin", 1, "", "", {}))
    return held


def transactions_in_memory(address: Address, scale: float) -> Iterator[None]:
    """Clients that store 3.8 MB each, and do not vote."""
    clients = _transactions(address, many(scale, 100))
    for client in clients:
        store = client.session.oneway("storea", p64(1), z64, b"x" * 950_000, 1)
        for _ in range(4):
            send(client, store)
    yield from hold(clients)


def transactions_on_disk(address: Address, scale: float) -> Iterator[None]:
    """Clients that store until the daemon says no."""
    clients = _transactions(address, many(scale, 20))
    for _ in range(many(scale, 40)):
        for client in clients:
            send(client, client.session.oneway("storea", p64(1), z64, b"x" * 2**20, 1))
    yield from hold(clients)


def many_operations(address: Address, scale: float) -> Iterator[None]:
    """Transactions of very many short operations."""
    clients = _transactions(address, 5)
    for client in clients:
        check = client.session.oneway("checkCurrentSerialInTransaction", p64(1), z64, 1)
        for _ in range(many(scale, 40)):
            send(client, check * 1000)
    yield from hold(clients)


def blob_uploads(address: Address, scale: float) -> Iterator[None]:
    """Blobs whose end does not come."""
    clients = _transactions(address, many(scale, 100))
    for client in clients:
        send(client, client.session.oneway("storeBlobStart"))
        for _ in range(many(scale, 16)):
            send(client, client.session.oneway("storeBlobChunk", b"x" * 2**18))
    yield from hold(clients)


def blob_downloads(address: Address, scale: float) -> Iterator[None]:
    """Clients that ask for a blob, and do not take it."""
    (author,) = _transactions(address, 1)
    send(author, author.session.oneway("storeBlobStart"))
    for _ in range(32):
        send(author, author.session.oneway("storeBlobChunk", b"x" * 2**18))
    blob = p64(2**40)
    send(author, author.session.oneway("storeBlobEnd", blob, z64, b"data", 1))
    author.socket.settimeout(5)
    serial = b""
    with suppress(*ENDED):
        author.ask("vote", 1)
        serial = author.ask("tpc_finish", 1)
    clients = registered(address, many(scale, 400))
    for client in clients:
        send(client, client.session.call(1, "sendBlob", blob, serial or z64))
    yield from hold([author, *clients])


def iterators(address: Address, scale: float) -> Iterator[None]:
    """Clients with two hundred iterators each."""
    clients = registered(address, many(scale, 30))
    for client in clients:
        client.socket.settimeout(5)
        with suppress(*ENDED):
            for _ in range(many(scale, 200)):
                client.ask("iterator_next", client.ask("iterator_start", None, None))
    yield from hold(clients)


def calls_under_way(address: Address, scale: float) -> Iterator[None]:
    """Clients with thousands of slow calls."""
    clients = registered(address, many(scale, 20))
    while True:
        for client in clients:
            calls = (client.session.call(n, "undoLog", 0, -20) for n in range(1, many(scale, 500)))
            client.socket.settimeout(0.01)
            send(client, b"".join(calls))
            with suppress(OSError):
                client.socket.recv(2**20)
        yield


def many_oids(address: Address, scale: float) -> Iterator[None]:
    """Requests for a thousand records each, and for more than a request may have."""
    clients = registered(address, 5)
    for client in clients:
        with suppress(TypeError, *ENDED):
            client.ask("loadManyBefore", [z64] * 1001, LATEST)
    while True:
        for client in clients:
            request = client.session.call(1, "loadManyBefore", [z64] * 1000, LATEST)
            send(client, request)
            with suppress(OSError):
                client.socket.recv(2**20)
            time.sleep(0.05)
        yield


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        idle_connections,
        slow_greetings,
        coming_and_going,
        early_bytes,
        idle_sessions,
        half_messages,
        deaf_clients,
        transactions_in_memory,
        transactions_on_disk,
        many_operations,
        blob_uploads,
        blob_downloads,
        iterators,
        calls_under_way,
        many_oids,
    )
}
