"""Iterators that a client does not report as dropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import transaction
import ZODB
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import maxtid, p64, u64, z64

from zeotwisted.storageserver.connections import batches
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


def test_batches_are_parked_and_go_on(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within a transaction, and after another one has used the file."""
    monkeypatch.setattr(batches, "_MOST_ITEMS", 7)
    expected = [(t.tid, [(r.oid, r.data) for r in t]) for t in storage.iterator()]
    iterators = Iterators(storage)
    before = descriptors()
    found: list[tuple[bytes, list[tuple[bytes, bytes]]]] = []
    known, iid, items = iterators.start_changes(z64, maxtid, True)
    assert known
    while True:
        for item in filter(None, items):
            if len(item) == 5:
                found.append((item[0], []))
            else:
                found[-1][1].append((item[0], item[2]))
        iterators.park()
        assert descriptors() <= before
        if iid is None:
            break
        same, items = iterators.next_changes(iid)
        assert same in (iid, None)
        iid = same
    assert found == expected
    assert iterators.count.kept == 0


def test_long_descriptions_end_a_batch(tmp_path: Path) -> None:
    """User, description and extension have 64 KB each, also where there is hardly any data."""
    storage = FileStorage(str(tmp_path / "Long.fs"))
    for number in range(60):
        about = TransactionMetaData(b"u" * 60_000, b"d" * 60_000, {"x": "e" * 50_000})
        storage.tpc_begin(about)
        storage.store(p64(number), z64, b"x", "", about)
        storage.tpc_vote(about)
        storage.tpc_finish(about)
    iterators = Iterators(storage)
    _, iid, items = iterators.start_changes(z64, maxtid, False)
    longest, count = 0, 0
    while True:
        long = [item for item in items if item and len(item) == 5]
        longest = max(longest, sum(len(text) for item in long for text in item[2:]))
        count += len(long)
        if iid is None:
            break
        iid, items = iterators.next_changes(iid)
    assert count == 60
    assert longest < 1.2 * 2**20
    storage.close()


def test_batches_begin_after_a_transaction(storage: FileStorage) -> None:
    tids = [t.tid for t in storage.iterator()]
    iterators = Iterators(storage)
    for since, stop, expected in (
        (tids[-3], tids[-1], (True, tids[-2:])),
        (tids[-1], tids[-1], (True, [])),
        (p64(u64(tids[-2]) + 1), tids[-1], (False, tids[-1:])),
        (tids[0], tids[1], (True, [tids[1]])),
        (p64(u64(tids[-1]) + 1), maxtid, (False, [])),
    ):
        known, iid, items = iterators.start_changes(since, stop, False)
        assert iid is None
        assert (known, [item[0] for item in items if item and len(item) == 5]) == expected


def test_numbers_of_other_kinds(storage: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_MOST_ITEMS", 7)
    iterators = Iterators(storage)
    log = iterators.start(None, None)
    _, number, _ = iterators.start_changes(z64, maxtid, True)
    assert number is not None
    for call, wrong in (
        (iterators.next_changes, log),
        (iterators.next, number),
        (iterators.next_record, number),
        (iterators.next_changes, 999),
        (lambda iid: iterators.start_records(iid, z64), number),
    ):
        with pytest.raises(KeyError):
            call(wrong)
