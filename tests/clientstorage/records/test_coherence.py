"""What a client believes, with caches of other makes."""

from __future__ import annotations

from typing import Any

import ZEO.cache
from ZODB.utils import p64

from zeotwisted.clientstorage.cache import ClientCache
from zeotwisted.clientstorage.records.coherence import Coherence


def cache_of_zeo() -> Any:
    """Return a cache that has three records."""
    cache = ZEO.cache.ClientCache(size=100_000)
    for number in range(3):
        cache.store(p64(number), p64(1), None, b"data")
    cache.setLastTid(p64(1))
    return cache


def test_replay_with_a_cache_of_zeo() -> None:
    """An application may give a cache that forgets one object at a time."""
    cache = cache_of_zeo()
    told: list[tuple[bytes, list[bytes]]] = []
    coherence = Coherence(cache, lambda tid, oids: told.append((tid, list(oids))), lambda: None)
    coherence.replay(p64(5), [p64(0), p64(2), p64(9)])
    assert [cache.load(p64(number)) for number in range(3)] == [None, (b"data", p64(1)), None]
    assert told == [(p64(5), [p64(0), p64(2), p64(9)])]
    assert cache.getLastTid() == p64(5)
    cache.close()


def test_news_with_a_cache_of_zeo() -> None:
    """An application may give a cache that is told of one object at a time."""
    cache = cache_of_zeo()
    told: list[tuple[bytes, list[bytes]]] = []
    coherence = Coherence(cache, lambda tid, oids: told.append((tid, list(oids))), lambda: None)
    coherence.invalidate(p64(5), [p64(0), p64(2), p64(9)])
    assert [cache.load(p64(number)) for number in range(3)] == [None, (b"data", p64(1)), None]
    assert cache.loadBefore(p64(2), p64(5)) == (b"data", p64(1), p64(5))
    assert told == [(p64(5), [p64(0), p64(2), p64(9)])]
    assert cache.getLastTid() == p64(5)
    cache.close()


class _Counting(ClientCache):
    """Counts how often it is told of one object by itself."""

    single = 0

    def invalidate(self, oid: bytes, tid: bytes | None) -> bool:
        self.single += 1
        return super().invalidate(oid, tid)


def test_news_is_one_step_for_all_objects() -> None:
    """Most clients have few of the objects of a large transaction. To ask for each takes longer."""
    cache = _Counting()
    cache.store(p64(3), p64(1), None, b"data")
    coherence = Coherence(cache, lambda tid, oids: None, lambda: None)
    coherence.invalidate(p64(5), [p64(number) for number in range(200)])
    assert cache.loadBefore(p64(3), p64(5)) == (b"data", p64(1), p64(5))
    assert cache.load(p64(3)) is None
    assert cache.single == 0 and cache.statistics.invalidations == 200
