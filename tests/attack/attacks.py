"""The attacks. Each is a generator: it yields when it has what it wants, and then goes on in steps.

An attack is bounded: in how many connections, bytes and calls it uses. It ignores that the daemon
ends its connections.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum

from ZODB.utils import p64, z64

from tests.storageserver.conftest import RawClient

from .callattacks import BY_OPERATORS, BY_READERS
from .peers import ENDED, LATEST, Address, Attack, connect, hold, let_in, many, registered, send
from .webattacks import BY_VISITORS

__all__ = ["ATTACKS", "Door", "door"]


class Door(Enum):
    """Where an attacker comes in."""

    #: Clients that may write, and no more.
    CLIENTS = "clients"
    #: Clients that may do everything.
    OPERATORS = "operators"
    #: Visitors over HTTP.
    VISITORS = "visitors"


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
    author = let_in(address)
    send(author, author.session.oneway("tpc_begin", 1, "", "", {}))
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


_BY_CLIENTS: tuple[Attack, ...] = (
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
    *BY_READERS,
)

_DOORS = {
    **dict.fromkeys(_BY_CLIENTS, Door.CLIENTS),
    **dict.fromkeys(BY_OPERATORS, Door.OPERATORS),
    **dict.fromkeys(BY_VISITORS, Door.VISITORS),
}

ATTACKS: dict[str, Attack] = {attack.__name__: attack for attack in _DOORS}


def door(name: str) -> Door:
    """Return where the attack with a name comes in."""
    return _DOORS[ATTACKS[name]]
