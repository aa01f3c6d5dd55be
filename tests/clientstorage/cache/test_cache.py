"""The caches against a model that keeps everything."""

from __future__ import annotations

import random
import shutil
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zeotwisted.clientstorage.cache.file import FileCache
from zeotwisted.clientstorage.cache.memory import ClientCache


def tid(number: int) -> bytes:
    return number.to_bytes(8, "big")


oids = st.integers(1, 5).map(tid)


class Cache(RuleBasedStateMachine):
    """A server with a history, and a cache that is told of it in order."""

    LIMIT = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.cache: Any = ClientCache(self.LIMIT)
        self.now = 0
        # For each object, its revisions in ascending order.
        self.history: dict[bytes, list[tuple[bytes, bytes]]] = {}

    def revision(self, oid: bytes, before: bytes) -> Any:
        """Return what the server would answer."""
        found = None
        for start, data in self.history.get(oid, ()):
            if start < before:
                found = [data, start, None]
            elif found is not None:
                found[2] = start
                break
        return None if found is None else tuple(found)

    @rule(changed=st.sets(oids, min_size=1), size=st.sampled_from([0, 10, 2000, 20_000]))
    def commit(self, changed: set[bytes], size: int) -> None:
        self.now += 1
        for oid in changed:
            self.history.setdefault(oid, []).append((tid(self.now), b"%d" % self.now + b"x" * size))
            self.cache.invalidate(oid, tid(self.now))
        self.cache.setLastTid(tid(self.now))

    @precondition(lambda self: self.now)
    @rule(oid=oids, back=st.integers(-1, 10))
    def load(self, oid: bytes, back: int) -> None:
        before = tid(max(self.now - back, 0))
        revision = self.revision(oid, before)
        if revision is not None:
            data, start, end = revision
            self.cache.store(oid, start, end, data)

    @rule(times=st.sampled_from([1, 30, 300]))
    def nothing_happens(self, times: int) -> None:
        for _ in range(times):
            self.cache.setLastTid(tid(self.now))

    @rule(oid=oids)
    def forget(self, oid: bytes) -> None:
        self.cache.invalidate(oid, None)
        assert self.cache.load(oid) is None

    @rule(oids=st.lists(oids, max_size=120))
    def forget_many(self, oids: list[bytes]) -> None:
        self.cache.forget(oids)
        assert not any(self.cache.load(oid) for oid in oids)

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        assert len(self.cache) == 0 and self.cache.used == 0

    @invariant()
    def tells_the_truth(self) -> None:
        for oid in map(tid, range(1, 6)):
            current = self.cache.load(oid)
            expected = self.revision(oid, tid(self.now + 1))
            assert current is None or current == expected[:2]
            for before in map(tid, range(self.now + 2)):
                found = self.cache.loadBefore(oid, before)
                assert found is None or found == self.revision(oid, before)
        assert self.cache.getLastTid() == tid(self.now)

    @invariant()
    def keeps_its_limit(self) -> None:
        assert 0 <= self.cache.used <= self.LIMIT


Cache.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCache = Cache.TestCase


class FileCacheMachine(Cache):
    """The same, and the file may be opened again at any time, also after a crash."""

    LIMIT = 64 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.cache = FileCache(str(self.folder / "cache"), self.LIMIT)

    def teardown(self) -> None:
        self.cache.close()
        shutil.rmtree(self.folder)

    def reopen(self, path: Path) -> None:
        self.cache.close()
        self.cache = FileCache(str(path), self.LIMIT)

    @rule()
    def restart(self) -> None:
        known = sorted(self.cache.revisions())
        self.reopen(self.folder / "cache")
        assert sorted(self.cache.revisions()) == known

    @rule()
    def restart_in_a_hurry(self) -> None:
        self.reopen(self.folder / "cache")

    @precondition(lambda self: self.now)
    @rule(changed=oids)
    def crash_in_a_commit(self, changed: bytes) -> None:
        """The process is killed after an invalidation, before the last tid: verification."""
        self.now += 1
        self.history.setdefault(changed, []).append((tid(self.now), b"%d" % self.now))
        self.cache.invalidate(changed, tid(self.now))
        copy = self.folder / f"copy{self.now}"
        shutil.copy(self.folder / "cache", copy)
        self.reopen(copy)
        assert self.cache.getLastTid() == tid(self.now - 1)
        self.cache.invalidate(changed, None)
        self.cache.setLastTid(tid(self.now))
        self.folder.joinpath("cache").unlink()
        copy.rename(self.folder / "cache")


FileCacheMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestFileCache = FileCacheMachine.TestCase


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
