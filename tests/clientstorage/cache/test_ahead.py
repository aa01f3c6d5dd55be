"""Records that nobody has asked for, in both kinds of caches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ZODB.utils import maxtid, p64

from zeotwisted.clientstorage.cache.file import FileCache
from zeotwisted.clientstorage.cache.memory import ClientCache

T1, T2, T3 = (p64(number) for number in (1, 2, 3))

Make = Callable[[int], Any]


@pytest.fixture(params=["memory", "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    caches: list[Any] = []

    def make(size: int) -> Any:
        if request.param == "memory":
            caches.append(ClientCache(size))
        else:
            caches.append(FileCache(str(tmp_path / "cache.zec"), size))
            caches[-1].wait_until_indexed()
        return caches[-1]

    yield make
    for cache in caches:
        cache.close()


def test_it_is_a_revision_like_any_other(make: Make) -> None:
    cache = make(2**20)
    cache.store_ahead(p64(1), T1, None, b"one")
    assert cache.loadBefore(p64(1), maxtid) == (b"one", T1, None)
    # What is older is not put in the place of what is newer.
    cache.store_ahead(p64(1), T2, None, b"two")
    cache.store_ahead(p64(1), T1, None, b"one")
    assert cache.loadBefore(p64(1), maxtid) == (b"two", T2, None)
    cache.invalidate(p64(1), T3)
    assert cache.loadBefore(p64(1), maxtid) is None
    assert cache.loadBefore(p64(1), T3) == (b"two", T2, T3)
    # A revision that is known to have ended does not become the current one.
    cache.store_ahead(p64(1), T2, None, b"two")
    assert cache.loadBefore(p64(1), maxtid) is None


def test_what_was_asked_for_twice_stays(make: Make) -> None:
    cache = make(2**16)
    popular = [p64(number) for number in range(20)]
    for oid in popular:
        cache.store(oid, T1, None, b"x" * 1000)
        assert cache.loadBefore(oid, maxtid)
    # They are moved to the main queue when the other one is full.
    for number in range(100, 200):
        cache.store(p64(number), T1, None, b"x" * 1000)
    kept = [oid for oid in popular if cache.loadBefore(oid, maxtid)]
    assert kept
    for rounds in range(20):
        for number in range(1000, 1200):
            cache.store_ahead(p64(number), T1 if rounds % 2 else T2, None, b"x" * 1000)
    assert [oid for oid in kept if not cache.loadBefore(oid, maxtid)] == []


def test_a_record_that_does_not_fit(make: Make) -> None:
    cache = make(2**16)
    cache.store_ahead(p64(1), T1, None, bytes(2**17))
    assert cache.loadBefore(p64(1), maxtid) is None
    cache.store_ahead(p64(2), T1, None, b"two")
    assert cache.loadBefore(p64(2), maxtid) == (b"two", T1, None)


def test_a_record_that_never_fits_drops_nothing(make: Make) -> None:
    cache = make(2**20)
    cache.store_ahead(p64(1), T1, None, b"one")
    cache.store_ahead(p64(2), T1, None, bytes(2**21))
    assert cache.loadBefore(p64(1), maxtid) == (b"one", T1, None)
    assert cache.loadBefore(p64(2), maxtid) is None
