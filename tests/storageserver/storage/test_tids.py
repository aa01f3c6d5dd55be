"""Tids that are chosen before the transaction is in the storage."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from ZODB.blob import BlobStorage
from ZODB.Connection import TransactionMetaData
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import newTid, p64, u64, z64

from zeotwisted.storageserver.storage.tids import TidClock, holds, takes_tids

OID = p64(1)


class Elsewhere(MappingStorage):
    """A storage for which a tid means something else."""

    def tpc_begin(self, transaction: Any, tid: Any = None, status: str = " ") -> None:
        super().tpc_begin(transaction)


class Wrapped:
    """What takes over the methods of another storage, as compressing storages do."""

    def __init__(self, base: Any) -> None:
        self.tpc_begin = base.tpc_begin


def test_who_takes_tids(tmp_path: Path) -> None:
    file = FileStorage(str(tmp_path / "Data.fs"))
    try:
        for storage in (
            file,
            MappingStorage(),
            DemoStorage(),
            DemoStorage(changes=file, base=Elsewhere()),
            BlobStorage(str(tmp_path / "blobs"), MappingStorage()),
            Wrapped(file),
        ):
            assert takes_tids(storage)
        for storage in (Elsewhere(), DemoStorage(changes=Elsewhere()), Wrapped(Elsewhere())):
            assert not takes_tids(storage)
    finally:
        file.close()


def test_tids_are_times() -> None:
    before = newTid(None)
    made = TidClock().next(z64)
    assert before < made < newTid(made)
    assert abs(TimeStamp(made).timeTime() - time.time()) < 60


def test_each_is_later_than_all_before() -> None:
    clock = TidClock()
    last = z64
    for _ in range(1000):
        made = clock.next(z64)
        assert made > last
        last = made


def test_none_is_made_twice_where_the_clock_is_behind() -> None:
    """A server that is started anew does not know which tids it has told before."""
    future = TimeStamp(2100, 12, 31, 23, 59, 59.9).raw()
    made = {TidClock().next(future) for _ in range(100)}
    assert len(made) == 100
    assert min(made) > future
    assert TimeStamp(max(made)).timeTime() - TimeStamp(future).timeTime() < 2


def test_clock_that_is_behind_can_catch_up() -> None:
    future = TimeStamp(2100, 12, 31, 23, 59, 59.9).raw()
    clock = TidClock()
    last = future
    for _ in range(100):
        made = clock.next(last)
        assert made > last
        last = made
    assert TimeStamp(last).timeTime() - TimeStamp(future).timeTime() < 2


@pytest.mark.parametrize("lists", [True, False])
def test_storage_knows_what_it_holds(lists: bool) -> None:
    storage: Any = MappingStorage()
    tids = []
    for data in (b"one", b"two"):
        txn = TransactionMetaData()
        storage.tpc_begin(txn)
        storage.store(OID, tids[-1] if tids else z64, data, "", txn)
        storage.tpc_vote(txn)
        tids.append(storage.tpc_finish(txn))
    if not lists:
        storage.iterator = None
    for tid in tids:
        assert holds(storage, tid, OID)
        assert not holds(storage, p64(u64(tid) + 1), OID)
        assert not holds(storage, p64(u64(tid) - 1), OID)
