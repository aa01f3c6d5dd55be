"""The invalidation queue against a list of everything."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ZODB
from hypothesis import given
from hypothesis import strategies as st
from ZODB.blob import BlobStorage
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.tests.hexstorage import HexStorage
from ZODB.utils import u64, z64

from zeotwisted.protocol.oids import split
from zeotwisted.storageserver.storage.changes import last_changes, read_changes, starts_anywhere
from zeotwisted.storageserver.storage.invalidations import _OVERHEAD, InvalidationQueue


def tid(number: int) -> bytes:
    return number.to_bytes(8, "big")


oids = st.sets(st.integers(1, 9).map(tid), min_size=1).map(sorted)


@given(size=st.integers(1, 5), before=st.lists(oids, max_size=7), after=st.lists(oids, max_size=9))
def test_queue(size: int, before: list[list[bytes]], after: list[list[bytes]]) -> None:
    """`before` is what the storage can tell of its past, `after` what happens then."""
    past = [(tid(number), changed) for number, changed in enumerate(before, 10)]
    last = past[-1][0] if past else tid(9)
    queue = InvalidationQueue(size, 0, last, past[-size:])
    everything = list(past)
    for number, changed in enumerate(after, 10 + len(before)):
        queue.append(tid(number), changed)
        everything.append((tid(number), changed))
    now = 9 + len(before) + len(after)
    assert queue.last == tid(now)
    for seen in range(8, now + 3):
        expected = {oid for number, changed in everything if number > tid(seen) for oid in changed}
        answer = queue.since(tid(seen))
        if answer is not None:
            latest, joined = answer
            assert latest == tid(now)
            assert set(split(joined)) == expected
        missed = now - seen
        # As many transactions as the queue is long are always known, if it has lived as long.
        if missed <= min(size, len(after)):
            assert answer is not None


def test_unknown_past() -> None:
    queue = InvalidationQueue(10, 0, tid(5))
    assert queue.since(tid(5)) == (tid(5), b"")
    assert queue.since(tid(4)) is None
    queue.append(tid(6), [tid(1)])
    assert queue.since(tid(5)) == (tid(6), tid(1))
    assert queue.since(tid(4)) is None


def test_more_are_kept_while_there_is_room() -> None:
    """And at least as many as asked for, whatever they take."""
    entry = _OVERHEAD + 8
    queue = InvalidationQueue(3, 10 * entry, tid(5))
    for number in range(6, 106):
        queue.append(tid(number), [tid(1)])
    assert queue.since(tid(95)) is not None
    assert queue.since(tid(94)) is None
    assert tid(105) in queue and tid(96) in queue
    assert tid(95) not in queue and tid(106) not in queue
    for number in range(106, 110):
        queue.append(tid(number), [tid(1)] * 1000)
    assert queue.since(tid(106)) is not None
    assert queue.since(tid(105)) is None


def test_memory_is_not_more_than_is_counted() -> None:
    entries = 20_000
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        queue = InvalidationQueue(entries, 0, tid(5))
        for number in range(6, 6 + entries):
            queue.append(tid(number), [tid(1), tid(2)])
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / entries < _OVERHEAD + 16


# What is read from the storage.


class Storage:
    """Its transactions change an object each."""

    def iterator(self, start: bytes, stop: bytes) -> Iterator[list[SimpleNamespace]]:
        for number in range(u64(start), u64(stop) + 1):
            yield [SimpleNamespace(oid=tid(number))]


def test_changes() -> None:
    last, oids = read_changes(Storage(), tid(5), tid(8)) or (b"", b"")
    assert last == tid(8)
    assert set(split(oids)) == {tid(6), tid(7), tid(8)}


def test_changes_that_take_too_long() -> None:
    """A second for each transaction."""
    assert read_changes(Storage(), tid(5), tid(9), count(0).__next__) is not None
    assert read_changes(Storage(), tid(5), tid(99), count(0).__next__) is None


def test_storages_that_start_anywhere(tmp_path: Path) -> None:
    file = FileStorage(str(tmp_path / "Data.fs"), blob_dir=str(tmp_path / "blobs"))
    other = FileStorage(str(tmp_path / "Other.fs"))
    try:
        assert starts_anywhere(file)
        assert starts_anywhere(BlobStorage(str(tmp_path / "more"), other))
        assert not starts_anywhere(MappingStorage())
        assert not starts_anywhere(BlobStorage(str(tmp_path / "again"), MappingStorage()))
        assert not starts_anywhere(DemoStorage(base=other))
        assert starts_anywhere(DemoStorage(base=other, changes=file))
        assert starts_anywhere(HexStorage(file))
        assert not starts_anywhere(HexStorage(MappingStorage()))
    finally:
        file.close()
        other.close()


class Iterable:
    """A storage that can be iterated, and does not know which transactions are the last ones."""

    def __init__(self, number: int) -> None:
        self.read = 0
        self._number = number

    def iterator(self) -> Iterator[Transaction]:
        for each in range(self._number):
            self.read += 1
            yield Transaction(each)


class Transaction(list[SimpleNamespace]):
    def __init__(self, number: int) -> None:
        super().__init__([SimpleNamespace(oid=tid(number + 100))])
        self.tid = tid(number)


def test_last_changes_of_a_storage_that_can_be_iterated() -> None:
    expected = [(tid(7), [tid(107)]), (tid(8), [tid(108)])]
    assert last_changes(Iterable(9), 2, 10, lambda: 0.0) == expected
    assert last_changes(Iterable(0), 2, 10, lambda: 0.0) == []
    assert last_changes(object(), 2, 10, lambda: 0.0) == ()


def test_reading_last_changes_is_bounded_in_time() -> None:
    storage, clock = Iterable(1000), count()
    assert last_changes(storage, 2, 10, lambda: float(next(clock))) == ()
    assert storage.read == 11


def test_last_changes_of_a_file(tmp_path: Path) -> None:
    file = FileStorage(str(tmp_path / "Data.fs"))
    try:
        with closing(ZODB.DB(file)) as db, db.transaction() as connection:
            connection.root()["x"] = 1
        file = FileStorage(str(tmp_path / "Data.fs"))
        read: list[Any] = []
        file.iterator = read.append
        ((latest, changed),) = last_changes(file, 1)
        assert latest == file.lastTransaction()
        assert changed == [z64]
        assert not read
    finally:
        file.close()
