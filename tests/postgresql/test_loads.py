"""Loads straight from RelStorage's tables return what RelStorage and FileStorage do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from twisted.internet.defer import Deferred, gatherResults
from ZODB.blob import BlobStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError, StorageError
from ZODB.utils import maxtid, p64

from zeotwisted.postgresql.loads import RecordLoads
from zeotwisted.storageserver.storage import load_many_before

from .histories import (
    OIDS,
    Writer,
    all_oids,
    all_tids,
    make_file_history,
    open_relstorage,
    take_data,
)
from .inreactor import REACTORS, run, sleep
from .server import PostgreSQLServer

KEEP = pytest.mark.parametrize("keep_history", [True, False], ids=["history", "free"])


def outcome(load: Callable[[bytes, bytes], Any], oid: bytes, tid: bytes) -> Any:
    """Return the result of a ``loadBefore``; the oid if there is no object or no data."""
    try:
        revision = load(oid, tid)
    except POSKeyError as error:
        assert error.args[0] == oid
        return oid
    # RelStorage returns revisions without data, except for the largest tid.
    return oid if revision is not None and not revision[0] else revision


async def outcomes(loads: RecordLoads, oids: list[bytes], tid: bytes) -> list[Any]:
    async def one(oid: bytes) -> Any:
        try:
            return await loads.load_before(oid, tid)
        except POSKeyError as error:
            assert error.args == (oid,)
            return oid

    return await gatherResults([Deferred.fromCoroutine(one(oid)) for oid in oids])


def compare(
    dsn: str, keep_history: bool, load: Callable[[bytes, bytes], Any], reactor: Any = REACTORS[0]
) -> None:
    """Compare all loads, one at a time and together, with those of another storage."""
    oids, tids = all_oids(), all_tids(dsn)
    assert len(tids) > 12

    def known(oid: bytes, tid: bytes) -> Any:
        # RelStorage does not know numbers that are no bigint.
        return oid if oid > maxtid else outcome(load, oid, min(tid, maxtid))

    def load_or_raise(oid: bytes, tid: bytes) -> Any:
        found = known(oid, tid)
        if found == oid:
            raise POSKeyError(oid)
        return found

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, keep_history, reactor)
        await loads.open()
        for tid in tids:
            assert await outcomes(loads, oids, tid) == [known(oid, tid) for oid in oids]
            wanted = load_many_before(load_or_raise, oids, tid, lambda: 0)
            assert await loads.load_many_before(oids, tid) == wanted
        loads.close()

    run(main, reactor)


@KEEP
@pytest.mark.parametrize("reactor", REACTORS)
def test_loads_as_relstorage_does(
    postgresql: PostgreSQLServer, tmp_path: Path, keep_history: bool, reactor: Any
) -> None:
    dsn = postgresql.new_database()
    with closing(open_relstorage(dsn, keep_history, tmp_path / "cache")) as storage:
        random, writer = Random(1), Writer(storage)
        writer.commit_some(random, 15, tmp_path)
        if keep_history:
            writer.undo(writer.commit({OIDS[8]: b"its creation is undone"}))
        else:
            writer.commit({OIDS[8]: b"is deleted"})
            writer.delete(OIDS[8])
        writer.commit_some(random, 10, tmp_path)
    take_data(dsn)
    with closing(open_relstorage(dsn, keep_history, tmp_path / "cache")) as storage:
        compare(dsn, keep_history, storage.loadBefore, reactor)


@pytest.mark.parametrize("seed", range(3))
def test_loads_as_file_storage_does(
    postgresql: PostgreSQLServer, tmp_path: Path, seed: int
) -> None:
    dsn = postgresql.new_database()
    make_file_history(tmp_path, seed)
    with closing(FileStorage(str(tmp_path / "Data.fs"))) as files:
        with closing(open_relstorage(dsn, True, tmp_path / "cache")) as storage:
            storage.copyTransactionsFrom(BlobStorage(str(tmp_path / "blobs"), files))
        compare(dsn, True, files.loadBefore)


@KEEP
def test_after_a_pack(postgresql: PostgreSQLServer, tmp_path: Path, keep_history: bool) -> None:
    dsn = postgresql.new_database()
    with closing(open_relstorage(dsn, keep_history, tmp_path / "cache")) as storage:
        writer = Writer(storage)
        writer.commit_some(Random(2), 15, tmp_path)
        storage.pack(2**40, lambda data: OIDS[:6])
    with closing(open_relstorage(dsn, keep_history, tmp_path / "cache")) as storage:
        oids, tids = OIDS, all_tids(dsn)

        async def main(reactor: Any) -> None:
            loads = RecordLoads(dsn, keep_history, reactor)
            await loads.open()
            for tid in tids:
                expected = [outcome(storage.loadBefore, oid, min(tid, maxtid)) for oid in oids]
                assert await outcomes(loads, oids, tid) == expected
            loads.close()

        run(main)


@KEEP
def test_an_empty_database(
    postgresql: PostgreSQLServer, tmp_path: Path, keep_history: bool
) -> None:
    dsn = postgresql.new_database()
    open_relstorage(dsn, keep_history, tmp_path).close()

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, keep_history, reactor)
        await loads.open()
        assert await outcomes(loads, OIDS, maxtid) == OIDS
        assert await loads.load_many_before(OIDS, maxtid) == [False] * len(OIDS)
        assert await loads.load_many_before([], maxtid) == []
        loads.close()

    run(main)


@KEEP
@pytest.mark.parametrize(
    "sizes",
    [
        [100_000] * 6,
        [2**18, 10],
        [2**18 - 1, 10, 10],
        [2**18 + 1, 10],
        [10, 2**18 + 1, 10],
        [10, 2**18, 10],
        [5_000_000, 5_000_000],
    ],
    ids=str,
)
def test_answers_are_not_too_long(
    postgresql: PostgreSQLServer, tmp_path: Path, keep_history: bool, sizes: list[int]
) -> None:
    dsn = postgresql.new_database()
    records = {p64(number): b"x" * size for number, size in enumerate(sizes)}
    with closing(open_relstorage(dsn, keep_history, tmp_path)) as storage:
        Writer(storage).commit(records)
    # Objects that do not exist take no room.
    oids = [p64(99), *reversed(records), p64(98)]
    with closing(open_relstorage(dsn, keep_history, tmp_path)) as storage:

        async def main(reactor: Any) -> None:
            loads = RecordLoads(dsn, keep_history, reactor)
            await loads.open()
            for some in (oids, oids[::-1], oids[1:], oids[-2::-1]):
                wanted = load_many_before(storage.loadBefore, some, maxtid, lambda: 0)
                assert await loads.load_many_before(some, maxtid) == wanted
            loads.close()

        run(main)


@pytest.mark.parametrize("size", [5_000_000, 50_000_000])
def test_large_records(postgresql: PostgreSQLServer, tmp_path: Path, size: int) -> None:
    dsn = postgresql.new_database()
    data = Random(size).randbytes(size)
    with closing(open_relstorage(dsn, True, tmp_path)) as storage:
        serial = Writer(storage).commit({OIDS[0]: data, OIDS[1]: b"small"})

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, True, reactor)
        await loads.open()
        large = [loads.load_before(OIDS[0], maxtid) for _ in range(3)]
        assert await loads.load_before(OIDS[1], maxtid) == (b"small", serial, None)
        for load in large:
            assert await load == (data, serial, None)
        assert await loads.load_many_before(OIDS[:2], maxtid) == [(data, serial, None)]
        loads.close()

    run(main)


@KEEP
def test_a_load_sees_what_was_committed_before_it(
    postgresql: PostgreSQLServer, tmp_path: Path, keep_history: bool
) -> None:
    """Whatever isolation the database has by default, and while other loads are under way."""
    dsn = postgresql.new_database()
    storage = open_relstorage(dsn, keep_history, tmp_path)
    writer = Writer(storage)
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = connection.info.dbname
        setting = "SET default_transaction_isolation TO serializable"
        connection.execute(f"ALTER DATABASE {name} {setting}")  # type: ignore[arg-type]

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, keep_history, reactor)
        await loads.open()
        for number in range(100):
            under_way = [loads.load_before(OIDS[1], maxtid) for _ in range(number % 5)]
            for load in under_way:
                load.addErrback(lambda failure: failure.trap(POSKeyError))
            data = str(number).encode()
            serial = writer.commit({OIDS[0]: data, OIDS[1]: data})
            found = [loads.load_before(OIDS[0], maxtid) for _ in range(2)]
            together = loads.load_many_before(OIDS[:2], maxtid)
            assert await gatherResults(found) == [(data, serial, None)] * 2
            assert await together == [(data, serial, None)] * 2
            await gatherResults(under_way)
        loads.close()

    run(main)
    storage.close()


def test_loads_that_wait_keep_their_order(postgresql: PostgreSQLServer, tmp_path: Path) -> None:
    dsn = postgresql.new_database()
    with closing(open_relstorage(dsn, True, tmp_path)) as storage:
        Writer(storage).commit({oid: oid for oid in OIDS})
    came: list[Any] = []

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, True, reactor, connections=1, most=2)
        await loads.open()
        started = []
        for number in range(100):
            load = loads.load_before(OIDS[number % len(OIDS)], maxtid)
            started.append(load.addCallback(lambda _, number=number: came.append(number)))
            if number == 0:
                load.addCallback(lambda _: loads.load_before(OIDS[0], maxtid))
                load.addCallback(lambda _: came.append("asked for by an answer"))
        await gatherResults(started)
        loads.close()

    run(main)
    assert came == [*range(100), "asked for by an answer"]


def test_a_refused_statement_is_the_business_of_one_load(
    postgresql: PostgreSQLServer, tmp_path: Path
) -> None:
    dsn = postgresql.new_database()
    with closing(open_relstorage(dsn, True, tmp_path)) as storage:
        serial = Writer(storage).commit({OIDS[0]: b"data"})

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, True, reactor, connections=1)
        await loads.open()
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("BEGIN")
            connection.execute("LOCK TABLE current_object")
            refused = loads.load_before(OIDS[0], maxtid)
            good = loads.load_before(OIDS[0], maxtid)
            blocked = "SELECT pg_cancel_backend(pid) FROM pg_locks WHERE NOT granted"
            while not connection.execute(blocked).fetchall():
                await sleep(reactor, 0.01)
            with pytest.raises(StorageError, match=r"PostgreSQL cannot load: .*canceling"):
                await refused
            connection.execute("COMMIT")
        assert await good == (b"data", serial, None)
        loads.close()

    run(main)


def test_the_numbers_of_libpq() -> None:
    from psycopg.pq import DiagnosticField, ExecStatus, Format

    from zeotwisted.postgresql import pipeline

    good = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.PIPELINE_ABORTED)
    assert good == pipeline._GOOD
    assert pipeline._ROWS == ExecStatus.TUPLES_OK
    assert pipeline._SYNC == ExecStatus.PIPELINE_SYNC
    assert pipeline._BINARY == Format.BINARY
    assert pipeline._SEVERITY == DiagnosticField.SEVERITY_NONLOCALIZED
