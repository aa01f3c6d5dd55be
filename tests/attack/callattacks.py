"""Attacks on the calls for operators, standbys and feeds; see `attacks`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ZODB.utils import p64, z64

from tests.storageserver.conftest import RawClient
from zeotwisted.protocol.methods import SERVER_CALLS, Call
from zeotwisted.protocol.roles import Role

from .peers import ENDED, LATEST, Address, Attack, hold, let_in, many, registered, send

__all__ = ["BY_OPERATORS", "BY_READERS"]

#: What a client may pass for an argument, whatever it should be.
_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**62, 1e308, float("nan"), float("inf"), "", "1", b"", z64, LATEST),
    *(b"x" * 60_000, "x" * 201, [], [z64], [1], {"a": 1}, (None,)),
)

#: How those call themselves who disconnect each other.
_ATTACKER = "attacker"

#: The calls of version 6, and those that some role is needed for.
_CALLS = [
    call
    for call in SERVER_CALLS.values()
    if not (call.opening or call.oneway or call.writes)
    and (call.version == b"6" or call.role in (Role.PACK, Role.FOLLOW, Role.ADMINISTER))
]

#: The ranges that a reader of the feed asks for.
_RANGES = (
    (z64, LATEST),
    (LATEST, LATEST),
    (LATEST, z64),
    (b"\xff" * 8, b"\xff" * 8),
    (p64(1), LATEST),
    (z64, z64),
)


def _ask(client: RawClient, *calls: tuple[Any, ...]) -> None:
    """Send calls; take what is there of the answers."""
    made = (client.session.call(number, *call) for number, call in enumerate(calls, 1))
    send(client, b"".join(made))
    client.socket.settimeout(0.01)
    with suppress(OSError):
        while client.socket.recv(2**20):
            pass
    client.socket.settimeout(0.2)


def feed_ranges(address: Address, scale: float) -> Iterator[None]:
    """Readers of the feed that begin everywhere, and never ask for the rest."""
    clients = registered(address, many(scale, 20))
    while True:
        for client in clients:
            _ask(client, *(("changes_start", *each, True) for each in _RANGES))
        yield


def deaf_feeds(address: Address, scale: float) -> Iterator[None]:
    """Readers of the feed that ask for all of it, and take nothing."""
    author = let_in(address)
    for number in range(many(scale, 40)):
        # Little data, and long descriptions.
        about = (number, "u" * 60_000, "d" * 60_000, b"")
        send(author, author.session.oneway("tpc_begin", *about))
        store = ("storea", p64(2**41 + number), z64, b"x", number)
        send(author, author.session.oneway(*store))
        author.socket.settimeout(5)
        with suppress(*ENDED):
            author.ask("vote", number)
            author.ask("tpc_finish", number)
    clients = registered(address, many(scale, 40))
    for client in clients:
        calls = (client.session.call(n, "changes_start", z64, LATEST, True) for n in range(1, 200))
        send(client, b"".join(calls))
    yield from hold(author, clients)


def half_feeds(address: Address, scale: float) -> Iterator[None]:
    """Readers of the feed that go away while it is read for them."""
    while True:
        for client in registered(address, many(scale, 10)):
            send(client, client.session.call(1, "changes_start", z64, LATEST, True) * 50)
            client.close()
        yield


def without_the_role(address: Address, scale: float) -> Iterator[None]:
    """Clients that call what they have no role for, with whatever they have."""
    clients = registered(address, many(scale, 20))
    values = itertools.cycle(_VALUES)
    while True:
        for client in clients:
            _ask(client, *(_call(call, values) for call in _CALLS))
        clients = [client for client in clients if client.socket.fileno() >= 0]
        clients += registered(address, many(scale, 20) - len(clients))
        yield


def _call(call: Call, values: Iterator[Any]) -> tuple[Any, ...]:
    return (call.name, *itertools.islice(values, len(call.kinds)))


def steering(address: Address, scale: float) -> Iterator[None]:
    """Operators that look at everything as often as they can."""
    clients = registered(address, many(scale, 20))
    looks = ("server_clients", "server_locks", "pack_progress", "pack_room", "server_limits")
    while True:
        for client in clients:
            _ask(client, *((name,) for name in looks * many(scale, 20)))
        yield


def deaf_operators(address: Address, scale: float) -> Iterator[None]:
    """Operators that look at everything, and read nothing."""
    clients = registered(address, many(scale, 50))
    for client in clients:
        names = ("server_clients", "server_locks", "record_oids") * 200
        calls = (client.session.call(n, name) for n, name in enumerate(names, 1))
        data = b"".join(calls)
        while send(client, data):
            pass
    yield from hold(clients)


def disconnections(address: Address, scale: float) -> Iterator[None]:
    """Operators that disconnect those that are not there, each other, and themselves."""
    wrong = (0, -1, 2**62, 10**9)
    while True:
        clients = registered(address, many(scale, 5))
        for client in clients:
            send(client, client.session.oneway("set_client_label", _ATTACKER))
        for client in clients:
            client.socket.settimeout(5)
            with suppress(*ENDED):
                for number in wrong:
                    client.ask("disconnect_client", number, "x" * 200)
                for other in client.ask("server_clients")["clients"]:
                    if other["label"] == _ATTACKER:
                        client.ask("disconnect_client", other["number"], "\n\x1b[2J")
            client.close()
        yield


def packs(address: Address, scale: float) -> Iterator[None]:
    """Operators that pack without an end, at all times, and cancel it."""
    clients = registered(address, many(scale, 10))
    times = (0.0, -1.0, float("nan"), float("inf"), 1e308, time.time(), time.time() - 1e6)
    while True:
        for client in clients:
            begin = [("pack", when, wait) for when in times for wait in (False, True)]
            _ask(client, *begin * many(scale, 20), ("cancel_pack",))
        yield


def lying_standbys(address: Address, scale: float) -> Iterator[None]:
    """Followers that acknowledge what nobody has, and ask for a promotion."""
    clients = registered(address, many(scale, 20))
    tids = (LATEST, b"\xff" * 8, p64(2**62))
    while True:
        for client in clients:
            _ask(client, *(("standby_has", tid) for tid in tids * 10), ("promote",))
        yield


#: By those that may read, and have no other role of these.
BY_READERS: tuple[Attack, ...] = (feed_ranges, deaf_feeds, half_feeds, without_the_role)

#: By those that have all roles.
BY_OPERATORS: tuple[Attack, ...] = (
    steering,
    deaf_operators,
    disconnections,
    packs,
    lying_standbys,
)
