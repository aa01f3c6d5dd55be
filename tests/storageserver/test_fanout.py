"""A daemon whose storage is itself a client of another daemon."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZEO
from ZODB.utils import z64

import zeotwisted

TIMEOUT = 20


class Watch:
    """A database that says when it hears of a transaction."""

    def __init__(self) -> None:
        self.tids: set[bytes] = set()
        self._changed = threading.Condition()

    def invalidate(self, tid: bytes, oids: Any) -> None:
        with self._changed:
            self.tids.add(tid)
            self._changed.notify_all()

    def wait_for(self, tid: bytes) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: tid in self.tids, TIMEOUT)

    def invalidateCache(self) -> None:
        pass

    references = None

    def transform_record_data(self, data: bytes) -> bytes:
        return data

    untransform_record_data = transform_record_data


@pytest.fixture(params=["zeotwisted", "ZEO"])
def upstream(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    make = {"zeotwisted": zeotwisted.server, "ZEO": ZEO.server}[request.param]
    address, stop = make(str(tmp_path / "Data.fs"), threaded=request.param == "zeotwisted")
    yield address
    stop()


@pytest.fixture
def fanout(upstream: Any) -> Iterator[Any]:
    address, stop = zeotwisted.server(
        storage_conf=f"""
            %import zeotwisted
            <clientstorage 1>
              server {upstream[0]}:{upstream[1]}
            </clientstorage>
        """
    )
    yield address
    stop()


def test_news_travels_through_both_daemons(upstream: Any, fanout: Any) -> None:
    writer = zeotwisted.DB(upstream)
    reader = zeotwisted.ClientStorage(fanout)
    watch = Watch()
    reader.registerDB(watch)
    connection = writer.open()
    for number in range(50):
        connection.root()["number"] = number
        transaction.commit()
        tid = writer.lastTransaction()
        watch.wait_for(tid)
        assert reader.lastTransaction() >= tid
        _, serial, end = reader.loadBefore(z64, b"\x7f" + b"\xff" * 7)
        assert (serial, end) == (tid, None)
    connection.close()
    writer.close()
    reader.close()


def test_commits_through_the_fanout(upstream: Any, fanout: Any) -> None:
    reader = zeotwisted.ClientStorage(upstream)
    watch = Watch()
    reader.registerDB(watch)
    writers = [zeotwisted.DB(fanout) for _ in range(3)]

    def write(db: Any) -> None:
        manager = transaction.TransactionManager()
        connection = db.open(manager)
        for _ in range(20):
            for attempt in manager.attempts(50):
                with attempt:
                    root = connection.root()
                    root["count"] = root.get("count", 0) + 1
        connection.close()

    threads = [threading.Thread(target=write, args=(db,)) for db in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    check = zeotwisted.DB(upstream)
    connection = check.open()
    assert connection.root()["count"] == 60
    watch.wait_for(check.lastTransaction())
    connection.close()
    for db in [*writers, check]:
        db.close()
    reader.close()
