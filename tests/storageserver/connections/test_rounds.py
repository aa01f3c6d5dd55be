"""Connections with messages left go on in a circle, for a bounded time in each turn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from zeotwisted.storageserver.connections.rounds import Rounds


class Connection:
    """Takes a while for each of its messages."""

    def __init__(
        self,
        rounds: Rounds,
        clock: Clock,
        took: list[str],
        name: str,
        seconds: float,
        then: Callable[[], object] = lambda: None,
    ) -> None:
        self._rounds = rounds
        self._clock = clock
        self._took = took
        self._name = name
        self._seconds = seconds
        self._then = then

    def go_on(self) -> None:
        self._took.append(self._name)
        self._clock.rightNow += self._seconds
        self._rounds.add(self)
        self._then()


def turn(clock: Clock, took: list[str]) -> str:
    """Return who goes on in the next turn of the reactor."""
    took.clear()
    (call,) = clock.calls
    clock.calls.remove(call)
    call.func()
    return "".join(took)


def test_all_get_their_turns_and_none_of_them_keeps_the_reactor() -> None:
    clock, took = Clock(), list[str]()
    rounds = Rounds(clock)
    for name in "abcdef":
        rounds.add(Connection(rounds, clock, took, name, 0.003))
    assert [turn(clock, took) for _ in range(4)] == ["ab", "cd", "ef", "ab"]


def test_a_connection_goes_on_once_in_a_turn() -> None:
    clock, took = Clock(), list[str]()
    rounds = Rounds(clock)
    for name in "ab":
        rounds.add(Connection(rounds, clock, took, name, 0.0))
    assert [turn(clock, took) for _ in range(2)] == ["ab", "ab"]


def test_a_connection_that_ends() -> None:
    clock, took = Clock(), list[str]()
    rounds = Rounds(clock)
    second = Connection(rounds, clock, took, "b", 0.0)
    first = Connection(rounds, clock, took, "a", 0.0, lambda: rounds.discard(second))
    rounds.add(first)
    rounds.add(second)
    assert turn(clock, took) == "a"
    rounds.discard(first)
    rounds.discard(first)
    assert clock.calls == []
    assert len(rounds) == 0


class Failing:
    def go_on(self) -> None:
        raise RuntimeError("a fault")


def test_a_connection_that_fails_does_not_stop_the_others() -> None:
    clock, took = Clock(), list[str]()
    rounds = Rounds(clock)
    rounds.add(Failing())
    rounds.add(Connection(rounds, clock, took, "b", 0.0))
    with pytest.raises(RuntimeError):
        turn(clock, took)
    assert turn(clock, took) == "b"
