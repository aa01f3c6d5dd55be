"""The search for a server, with servers that answer when the test says."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from ZODB.POSException import ReadOnlyError

from zeotwisted.clientstorage.connection.address import Address
from zeotwisted.clientstorage.connection.search import NoServer, Rank, Search
from zeotwisted.exceptions import ClientDisconnected

A: Address = ("a", 1)
B: Address = ("b", 2)
C: Address = "/c.sock"


class _Protocol:
    def __init__(self) -> None:
        self.closed: Exception | None = None

    def close(self, reason: Exception) -> None:
        self.closed = reason


class _Candidate:
    address = A

    def __init__(self, rank: Rank | Exception) -> None:
        self.protocol = _Protocol()
        self.rank = rank

    @property
    def closed(self) -> bool:
        return self.protocol.closed is not None


class _World:
    def __init__(self, *addresses: Address) -> None:
        self.clock = Clock()
        self.under_way: dict[Address, Deferred[Any]] = {}
        self.search = Search(self.clock, addresses, self._reach, self._judge)  # type: ignore[arg-type]
        self.outcome: Any = None
        self.search.outcome.addBoth(self._set)

    async def _reach(self, address: Address) -> Any:
        self.under_way[address] = Deferred()
        try:
            return await self.under_way[address]
        finally:
            del self.under_way[address]

    def _judge(self, candidate: Any) -> Rank:
        if isinstance(candidate.rank, Exception):
            raise candidate.rank
        return candidate.rank

    def _set(self, outcome: Any) -> None:
        assert self.outcome is None
        self.outcome = outcome

    def found(self, address: Address, rank: Rank | Exception = Rank.FITS) -> _Candidate:
        candidate = _Candidate(rank)
        self.under_way[address].callback(candidate)
        return candidate

    def failed(self, address: Address, error: Exception) -> None:
        self.under_way[address].errback(error)


def _world(*addresses: Address) -> _World:
    world = _World(*addresses)
    world.search.start()
    assert set(world.under_way) == set(addresses), "they are not tried at the same time"
    return world


def test_the_first_that_fits_wins() -> None:
    world = _world(A, B, C)
    world.failed(A, ClientDisconnected("refused"))
    chosen = world.found(B)
    assert world.outcome is chosen
    assert not chosen.closed
    assert not world.under_way, "the others are still being tried"
    assert not world.clock.getDelayedCalls()


def test_nobody_fits() -> None:
    world = _world(A, B)
    world.failed(B, ReadOnlyError("no"))
    assert world.outcome is None
    world.failed(A, ClientDisconnected("refused"))
    error = world.outcome.value
    assert isinstance(error, NoServer)
    assert dict(error.failures).keys() == {A, B}
    assert error.includes(ReadOnlyError) and not error.includes(ValueError)
    assert "a:1: refused" in str(error) and "b:2: it is read-only" in str(error)


@pytest.mark.parametrize("better", [Rank.FITS, Rank.READ_ONLY])
def test_a_better_one_replaces_one_that_would_do(better: Rank) -> None:
    world = _world(A, B, C)
    old = world.found(A, Rank.OLDER)
    assert world.outcome is None
    new = world.found(B, better)
    assert old.closed and not new.closed
    world.clock.pump([0.25] * 40)
    assert world.outcome is new
    assert not world.under_way


def test_one_that_is_no_better_is_sent_away() -> None:
    world = _world(A, B, C)
    first = world.found(A, Rank.READ_ONLY)
    second = world.found(B, Rank.READ_ONLY)
    assert second.closed and not first.closed
    world.failed(C, ClientDisconnected("refused"))
    assert world.outcome is first, "it waits though there is nobody left to wait for"
    assert not world.clock.getDelayedCalls()


def test_one_that_would_do_does_not_wait_for_ever() -> None:
    world = _world(A, B)
    makeshift = world.found(A, Rank.READ_ONLY)
    assert world.outcome is None
    world.clock.pump([0.25] * 40)
    assert world.outcome is makeshift
    assert not world.under_way


def test_one_that_is_behind_has_time_to_catch_up() -> None:
    """It may be a copy that hears of every commit a little later than we did."""
    world = _world(A)
    candidate = world.found(A, Rank.OLDER)
    world.clock.pump([0.25] * 4)
    assert world.outcome is None
    candidate.rank = Rank.FITS
    world.clock.advance(0.25)
    assert world.outcome is candidate


def test_one_that_does_not_do_any_more() -> None:
    world = _world(A, B)
    candidate = world.found(A, Rank.OLDER)
    candidate.rank = ClientDisconnected("it falls behind")
    world.clock.advance(0.25)
    assert candidate.closed
    world.failed(B, ClientDisconnected("refused"))
    assert "it falls behind" in str(world.outcome.value)


def test_one_that_does_not_catch_up_is_better_than_none() -> None:
    world = _world(A)
    candidate = world.found(A, Rank.OLDER)
    world.clock.pump([0.25] * 40)
    assert world.outcome is candidate and not candidate.closed


def test_one_that_is_refused_is_closed() -> None:
    world = _world(A)
    candidate = world.found(A, ClientDisconnected("older"))
    assert candidate.closed
    assert "older" in world.outcome.value.explanation


@pytest.mark.parametrize("held", [False, True])
def test_cancel(held: bool) -> None:
    world = _world(A, B)
    candidate = world.found(A, Rank.READ_ONLY) if held else None
    world.search.cancel()
    assert not world.under_way and not world.clock.getDelayedCalls()
    assert candidate is None or candidate.closed
    assert world.outcome is None


def test_one_that_ignores_being_cancelled_is_closed() -> None:
    """Its name was being looked up in a thread, say, and it goes on to connect."""
    late: Deferred[Any] = Deferred()

    async def reach(address: Address) -> Any:
        try:
            await Deferred()
        except CancelledError:
            return await late

    search = Search(Clock(), [A], reach, lambda candidate: Rank.FITS)
    search.start()
    search.cancel()
    candidate = _Candidate(Rank.FITS)
    late.callback(candidate)
    assert candidate.closed


def test_each_server_is_the_first_one_for_some_clients() -> None:
    """Equal servers are chosen in the order in which they answer, so they share the clients."""
    first = {next(iter(_world(A, B, C).under_way)) for _ in range(200)}
    assert first == {A, B, C}
