"""The records that the daemon keeps in memory."""

from __future__ import annotations

import pytest
from ZODB.utils import p64

from zeotwisted.storageserver.storage.recordcache import RecordCache

SIZE = 100_000


@pytest.fixture
def cache() -> RecordCache:
    return RecordCache(SIZE)


def test_a_current_revision_is_kept(cache: RecordCache) -> None:
    cache.loaded(p64(1), (b"data", p64(5), None))
    assert cache.load_before(p64(1), p64(6)) == (b"data", p64(5), None)
    assert cache.load_before(p64(1), p64(99)) == (b"data", p64(5), None)
    assert cache.hits == 2


def test_the_client_may_ask_for_an_older_one(cache: RecordCache) -> None:
    cache.loaded(p64(1), (b"data", p64(5), None))
    assert cache.load_before(p64(1), p64(5)) is None
    assert not cache.has(p64(1), p64(5))
    assert cache.has(p64(1), p64(6))
    assert cache.hits == 0


@pytest.mark.parametrize("revision", [None, False, (b"data", p64(5), p64(7))])
def test_what_is_not_current_is_not_kept(cache: RecordCache, revision: object) -> None:
    cache.loaded(p64(1), revision)  # type: ignore[arg-type]
    assert len(cache) == 0 == cache.size


def test_a_change_removes_older_revisions(cache: RecordCache) -> None:
    for oid in range(4):
        cache.loaded(p64(oid), (b"data", p64(5), None))
    cache.loaded(p64(3), (b"new", p64(6), None))
    # The storage may have the transaction before it is published.
    cache.changed(p64(6), [p64(1), p64(3), p64(77)])
    assert [cache.has(p64(oid), p64(9)) for oid in range(4)] == [True, False, True, True]
    cache.changed(p64(5), [p64(0)])
    assert cache.has(p64(0), p64(9))


def test_its_size_is_limited(cache: RecordCache) -> None:
    for oid in range(1000):
        cache.loaded(p64(oid), (bytes(1000), p64(5), None))
        cache.load_before(p64(0), p64(9))
    assert SIZE * 0.9 < cache.size <= SIZE
    assert len(cache) == cache.size // 1300
    # What is used stays; the others go in their order.
    assert cache.has(p64(0), p64(9)) and cache.has(p64(999), p64(9))
    assert not cache.has(p64(1), p64(9))
    cache.changed(p64(6), [p64(oid) for oid in range(1000)])
    assert len(cache) == 0 == cache.size


def test_a_revision_is_counted_once(cache: RecordCache) -> None:
    for length in (10, 1000, 0):
        cache.loaded(p64(1), (bytes(length), p64(5), None))
    assert cache.size == 300 and len(cache) == 1
    cache.forget()
    assert cache.size == 0 and not cache.has(p64(1), p64(9))


def test_a_long_record_does_not_replace_many_others(cache: RecordCache) -> None:
    cache.loaded(p64(1), (bytes(SIZE // 10), p64(5), None))
    assert len(cache) == 0


def test_it_can_be_switched_off() -> None:
    cache = RecordCache(0)
    cache.loaded(p64(1), (b"", p64(5), None))
    assert len(cache) == 0 and cache.load_before(p64(1), p64(9)) is None
