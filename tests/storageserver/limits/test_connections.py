"""Which connections are let in, and which one makes room for another."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from zeotwisted.storageserver.limits.budget import Budget
from zeotwisted.storageserver.limits.connections import Admission
from zeotwisted.storageserver.limits.hosts import LOCAL, host_of, neighbourhood


class Guest:
    """A connection that ends only when the test says so, as a real one does."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.dropped: str | None = None

    def drop(self, reason: str) -> None:
        self.dropped = reason


class Door:
    """An `Admission` and its guests."""

    def __init__(self, connections: int = 100, unregistered: int = 100, address: int = 100) -> None:
        self.clock = Clock()
        self.connections = Budget("connection-limit", connections)
        self.unregistered = Budget("unregistered-limit", unregistered)
        self.address = Budget("address-limit", address)
        self.admission = Admission(self.clock, self.connections, self.unregistered, self.address)

    def enter(self, host: str = "a", register: bool = True) -> Guest | str:
        refused = self.admission.refusal(host)
        if refused is not None:
            return refused
        guest = Guest(host)
        self.admission.entered(guest)
        if register:
            self.admission.registered(guest)
        return guest

    def guest(self, host: str = "a", register: bool = True) -> Guest:
        guest = self.enter(host, register)
        assert isinstance(guest, Guest)
        return guest


def test_connections_in_total() -> None:
    door = Door(connections=2)
    first = door.guest("a")
    door.guest("b")
    assert door.enter("c") == "the server has too many connections (connection-limit 2)"
    assert door.connections.usage() == (2, 2, 2, 1)
    door.admission.left(first, True)
    door.guest("c")
    assert door.connections.usage() == (2, 2, 2, 1)


def test_connections_of_an_address() -> None:
    door = Door(address=2)
    first, _ = door.guest("10.0.0.1"), door.guest("10.0.0.1")
    refused = door.enter("10.0.0.1")
    assert refused == "the server has too many connections from 10.0.0.1 (address-limit 2)"
    door.guest("10.0.0.2")
    door.admission.count_addresses()
    assert door.address.usage() == (2, 2, 2, 1)
    door.admission.left(first, True)
    door.guest("10.0.0.1")


def test_all_addresses_are_forgotten() -> None:
    door = Door()
    guests = [door.guest(host) for host in "abca"]
    for guest in guests:
        door.admission.left(guest, True)
    door.admission.count_addresses()
    assert [budget.used for budget in (door.connections, door.unregistered, door.address)] == [
        0
    ] * 3
    assert not door.admission._by_address


def test_unregistered_connections() -> None:
    door = Door(unregistered=2)
    door.guest(register=False)
    second = door.guest(register=False)
    assert door.enter() == (
        "too many connections wait for their registration (unregistered-limit 2)"
    )
    door.admission.registered(second)
    door.guest()


def test_an_old_unregistered_one_makes_room() -> None:
    door = Door(unregistered=2)
    old = door.guest(register=False)
    door.clock.advance(1)
    young = door.guest(register=False)
    door.clock.advance(1)
    door.guest(register=False)
    assert old.dropped is not None and "unregistered-limit 2" in old.dropped
    assert young.dropped is None
    # The second one has not waited long enough.
    assert isinstance(door.enter(), str)
    door.admission.left(old, False)
    assert door.unregistered.used == 2


def test_the_crowd_of_one_address_makes_room_for_others() -> None:
    """A burst of connections keeps nobody else out, not even for a moment."""
    door = Door(unregistered=4)
    other = door.guest("b", register=False)
    crowd = [door.guest("a", register=False) for _ in range(3)]
    assert isinstance(door.enter("a"), str), "not for itself"
    door.guest("b", register=False)
    assert [guest.dropped is not None for guest in (other, *crowd)] == [False, True, False, False]
    # No address has more than a half now.
    assert isinstance(door.enter("c"), str)
    assert isinstance(door.enter("a"), str)


def test_an_old_unregistered_one_makes_room_in_the_whole() -> None:
    door = Door(connections=2)
    idle = door.guest("b", register=False)
    door.guest("a")
    door.clock.advance(3)
    door.guest("c")
    assert idle.dropped is not None and "connection-limit 2" in idle.dropped
    door.admission.left(idle, False)
    # Registered connections stay.
    door.clock.advance(1000)
    assert isinstance(door.enter("d"), str)


@pytest.mark.parametrize(
    ("host", "counts_as"),
    [
        ("10.0.0.1", "10.0.0.1"),
        (LOCAL, LOCAL),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ],
)
def test_neighbourhood(host: str, counts_as: str) -> None:
    assert neighbourhood(host) == counts_as


def test_hosts() -> None:
    assert host_of(None) == LOCAL
