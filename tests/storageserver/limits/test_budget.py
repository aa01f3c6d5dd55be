"""Budgets, and the client that gives way."""

from __future__ import annotations

import pytest

from zeotwisted.storageserver.limits.budget import Budget, LimitReached
from zeotwisted.storageserver.limits.shares import Shares


def test_it_says_which_limit_is_reached() -> None:
    budget = Budget("file-limit", 3)
    budget.take("too many files")
    with pytest.raises(LimitReached, match=r"^too many files \(file-limit 3\)$"):
        budget.take("too many files", 3)
    assert budget.usage() == (1, 3, 1, 1)
    budget.take("too many files", 2)
    budget.add(-3)
    assert budget.usage() == (0, 3, 3, 1)


class Client:
    def __init__(self, host: str) -> None:
        self.host = host


A1, A2, B1, B2 = (Client(host) for host in "aabb")


def shares(most: int, held: dict[Client, int]) -> Shares[Client]:
    shares: Shares[Client] = Shares(Budget("message-memory", most))
    for client, amount in held.items():
        assert shares.hold(client, amount) is None
    return shares


def test_nobody_gives_way_while_there_is_room() -> None:
    both = shares(100, {A1: 40, B1: 60})
    assert both.budget.usage() == (100, 100, 100, 0)
    assert both.hold(B1, 0) is None
    assert both.hold(A1, 100) is None
    assert both.hold(A1, 0) is None
    assert both.budget.used == 0


def test_the_one_that_holds_the_most_gives_way() -> None:
    both = shares(100, {A1: 40, B1: 60})
    assert both.hold(A1, 41) is B1
    assert both.hold(A1, 61) is A1
    assert both.budget.usage() == (121, 100, 121, 2)


def test_an_address_with_many_clients_is_not_better_off() -> None:
    """An attacker with many connections cannot displace a client that holds more than each."""
    both = shares(100, {A1: 50, B1: 30, B2: 20})
    assert both.hold(B2, 31) is B2
    assert both.hold(B2, 20) is None


def test_who_takes_less_does_not_make_others_give_way() -> None:
    both = shares(100, {A1: 50, B1: 50})
    both.hold(B1, 80)
    assert both.hold(A1, 45) is None
