"""What a cache keeps and what it drops; `test_cache_model` tries what it says."""

from __future__ import annotations

import random
import tracemalloc

from zeotwisted.clientstorage.cache.memory import ClientCache


def tid(number: int) -> bytes:
    return number.to_bytes(8, "big")


def test_what_is_not_asked_for_goes_first() -> None:
    cache = ClientCache(2500)
    for number in range(1, 4):
        cache.store(tid(number), tid(1), None, b"x" * 500)
    assert len(cache) == 3
    cache.load(tid(1))
    cache.store(tid(4), tid(1), None, b"x" * 1000)
    assert cache.load(tid(1)) and cache.load(tid(4))
    assert cache.load(tid(2)) is None


def test_object_larger_than_the_cache_is_not_kept() -> None:
    cache = ClientCache(1000)
    cache.store(tid(1), tid(1), None, b"small")
    cache.store(tid(2), tid(1), None, b"x" * 1000)
    assert cache.load(tid(1)) and cache.load(tid(2)) is None


def test_what_a_record_takes_is_counted() -> None:
    chance = random.Random(1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        cache = ClientCache(1_000_000)
        for number in range(20_000):
            oid = tid(int(chance.expovariate(1 / 3000)) if number % 3 else 10**6 + number)
            if cache.load(oid) is None:
                cache.store(oid, tid(number), None, chance.randbytes(chance.randrange(200)))
            if number > 10_000 and number % 2:
                cache.invalidate(oid, tid(number + 1))
            if number % 500 == 0 and cache.statistics.evictions:
                assert tracemalloc.get_traced_memory()[0] - before <= cache.used
        assert cache.statistics.evictions > 10_000
    finally:
        tracemalloc.stop()


def test_a_scan_leaves_what_is_wanted() -> None:
    cache = ClientCache(100_000)
    for _ in range(3):
        for number in range(1, 30):
            if cache.load(tid(number)) is None:
                cache.store(tid(number), tid(1), None, b"x" * 1000)
    for number in range(1000, 5000):
        cache.store(tid(number), tid(1), None, b"x" * 1000)
    assert all(cache.load(tid(number)) for number in range(1, 30))
