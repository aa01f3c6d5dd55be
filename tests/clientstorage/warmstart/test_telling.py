"""The server hears what a client uses of its cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from ZODB.utils import maxtid, p64

from zeotwisted.clientstorage.cache.file import FileCache
from zeotwisted.clientstorage.cache.memory import ClientCache
from zeotwisted.clientstorage.records import Coherence
from zeotwisted.clientstorage.warmstart.telling import Telling
from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.protocol import numbers

TID = p64(1)


@pytest.fixture(params=["memory", "file"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "memory":
        return ClientCache(2**20)
    cache = FileCache(str(tmp_path / "cache"), 2**20)
    request.addfinalizer(cache.close)
    return cache


class Told:
    """A server, and what it was told."""

    def __init__(self, cache: Any) -> None:
        self.clock = Clock()
        self.messages: list[Sequence[int]] = []
        self.is_lost = False
        coherence = Coherence(cache, lambda *args: None, lambda: None)
        self.telling = Telling(coherence.requested, self._tell, self.clock.callLater)

    def _tell(self, joined: bytes) -> None:
        if self.is_lost:
            raise ClientDisconnected
        self.messages.append(numbers(joined))

    def after(self, seconds: int) -> set[int]:
        """Let time pass; return what it was told meanwhile."""
        self.messages.clear()
        self.clock.pump([0.1] * (10 * seconds))
        return {number for message in self.messages for number in message}


def fill(cache: Any, count: int) -> None:
    for number in range(count):
        if number % 2:
            cache.store_ahead(p64(number), TID, None, b"data")
        else:
            cache.store(p64(number), TID, None, b"data")


def test_what_was_requested_is_told(cache: Any) -> None:
    fill(cache, 100)
    used = {0, 1, 5, 50, 99}
    for number in used:
        cache.loadBefore(p64(number), maxtid)
    told = Told(cache)
    assert told.after(4) == set()
    assert told.after(2) == used
    cache.loadBefore(p64(7), maxtid)
    # Each time it waits twice as long.
    assert told.after(8) == set()
    assert told.after(2) == {*used, 7}
    assert told.after(18) == set()
    assert told.after(3) == {*used, 7}


def test_in_the_long_run_it_is_told_each_hour(cache: Any) -> None:
    fill(cache, 10)
    cache.loadBefore(p64(1), maxtid)
    told = Told(cache)
    told.after(10 * 3600)
    told.after(3600)
    assert len(told.messages) == 1


def test_some_at_a_time(cache: Any) -> None:
    fill(cache, 3000)
    for number in range(0, 3000, 3):
        cache.loadBefore(p64(number), maxtid)
    told = Told(cache)
    assert told.after(8) == set(range(0, 3000, 3))
    assert [len(message) < 400 for message in told.messages] == [True] * len(told.messages)
    assert len(told.messages) >= 3


def test_what_is_not_current_is_not_told(cache: Any) -> None:
    fill(cache, 10)
    for number in range(10):
        cache.loadBefore(p64(number), maxtid)
    cache.invalidate(p64(3), p64(2))
    cache.invalidate(p64(4), None)
    assert Told(cache).after(8) == {0, 1, 2, 5, 6, 7, 8, 9}


def test_nothing_is_told_of_a_cache_that_does_not_say(cache: Any) -> None:
    told = Told(object())
    assert told.after(70) == set()


@pytest.mark.parametrize("seconds", [0, 70])
def test_it_ends_with_the_connection(cache: Any, seconds: int) -> None:
    fill(cache, 10)
    cache.loadBefore(p64(1), maxtid)
    told = Told(cache)
    told.after(seconds)
    told.telling.stop()
    assert told.clock.getDelayedCalls() == []


def test_it_ends_when_it_cannot_tell(cache: Any) -> None:
    fill(cache, 10)
    cache.loadBefore(p64(1), maxtid)
    told = Told(cache)
    told.is_lost = True
    told.after(70)
    assert told.clock.getDelayedCalls() == []
    told.telling.stop()


def test_asking_what_is_lacking_asks_for_nothing(cache: Any) -> None:
    fill(cache, 4)
    before = cache.statistics.hits, cache.statistics.misses
    assert cache.lacking([p64(number) for number in (0, 7, 3, 8)]) == [p64(7), p64(8)]
    assert (cache.statistics.hits, cache.statistics.misses) == before
    assert Told(cache).after(8) == set()
    cache.invalidate(p64(3), p64(2))
    assert cache.lacking([p64(3)]) == [p64(3)]


def test_room(cache: Any) -> None:
    before = cache.room
    assert 0.6 * 2**20 < before <= 2**20
    cache.store_ahead(p64(1), TID, None, b"x" * 1000)
    assert 1000 < before - cache.room < 1200
