"""Iterators that a client does not report as dropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage

from zeotwisted.storageserver.connections.iterators import Iterators
from zeotwisted.storageserver.limits import IteratorCount, LimitReached

from .openfiles import descriptors

MANY = 300


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FileStorage]:
    storage = FileStorage(str(tmp_path / "Data.fs"))
    db = ZODB.DB(storage)
    connection = db.open()
    for number in range(MANY):
        connection.root()["a"] = connection.root()["b"] = number
        if number % 100 == 0:
            connection.root()[number] = type(connection.root())({1: 1})
        transaction.commit()
    yield storage
    connection.close()
    db.close()


def test_dropped_ones_keep_few_descriptors(storage: FileStorage) -> None:
    iterators = Iterators(storage)
    before = descriptors()
    iid = iterators.start(None, None)
    for expected in storage.iterator():
        item = iterators.next(iid)
        assert item is not None and item[0] == expected.tid
        records = iterators.start_records(iid, item[0])
        assert iterators.next_record(records) is not None
    assert iterators.next(iid) is None
    assert descriptors() < before + 50
    iterators.close()
    assert descriptors() <= before + 1


def test_parked_ones_go_on_where_they_were(storage: FileStorage) -> None:
    iterators = Iterators(storage)
    expected = [t.tid for t in storage.iterator()][:5]
    many = [iterators.start(None, None) for _ in range(MANY)]
    for tid in expected:
        for iid in many:
            item = iterators.next(iid)
            assert item is not None and item[0] == tid


def test_records_of_earlier_transactions(storage: FileStorage) -> None:
    iterators = Iterators(storage)
    iid = iterators.start(None, None)
    tids = []
    while len(tids) < MANY:
        item = iterators.next(iid)
        assert item is not None
        tids.append(item[0])
    many = [iterators.start_records(iid, tid) for tid in tids]
    found: dict[bytes, list[bytes]] = {tid: [] for tid in tids}
    # In turns, so that each is parked between its records.
    going = dict(zip(tids, many, strict=True))
    while going:
        for tid, records in list(going.items()):
            record = iterators.next_record(records)
            if record is None:
                del going[tid]
            else:
                found[tid].append(record[0])
    assert found == {t.tid: [r.oid for r in t] for t in storage.iterator() if t.tid in found}


def test_records_whose_iterator_was_parked_or_forgotten(storage: FileStorage) -> None:
    iterators = Iterators(storage)
    first = next(iter(storage.iterator()))
    expected = [record.oid for record in first]
    for forget in (False, True):
        iid = iterators.start(None, None)
        iterators.next(iid)
        records = iterators.start_records(iid, first.tid)
        if forget:
            iterators.forget([iid])
        else:
            for _ in range(50):
                iterators.start(None, None)
        assert [iterators.next_record(records)[0] for _ in expected] == expected  # type: ignore[index]
        assert iterators.next_record(records) is None


def test_reading_in_order_searches_for_nothing(storage: FileStorage) -> None:
    iterators = Iterators(storage)
    iid = iterators.start(None, None)
    storage.iterator = None  # type: ignore[method-assign]
    while (item := iterators.next(iid)) is not None:
        records = iterators.start_records(iid, item[0])
        while iterators.next_record(records) is not None:
            pass


def test_records_after_the_end(storage: FileStorage) -> None:
    iterators = Iterators(storage)
    iid = iterators.start(None, None)
    tids = []
    while (item := iterators.next(iid)) is not None:
        tids.append(item[0])
    assert iterators.next_record(iterators.start_records(iid, tids[5])) is not None


def test_the_one_that_was_used_longest_ago_goes(
    storage: FileStorage,
) -> None:
    iterators = Iterators(storage)
    iterators.most = IteratorCount(20, 3)
    used, unused = iterators.start(None, None), iterators.start(None, None)
    for _ in range(10):
        assert iterators.next(used) is not None
        iterators.start(None, None)
    with pytest.raises(LimitReached, match="iterator-limit"):
        iterators.next(unused)
    iterators.close()
