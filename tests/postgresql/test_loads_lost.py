"""Loads whose connection is lost are tried again; what cannot be answered fails in time."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from twisted.internet.defer import Deferred, gatherResults
from ZODB.POSException import StorageError
from ZODB.utils import maxtid

from zeotwisted.postgresql.connecting import connect
from zeotwisted.postgresql.loads import DatabaseUnreachable, RecordLoads

from .histories import OIDS, Writer, open_relstorage
from .inreactor import in_thread, run, sleep
from .server import PostgreSQLServer

_TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid != pg_backend_pid()"
)


@pytest.fixture
def server(postgresql: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    """A server that can be stopped."""
    with PostgreSQLServer() as server:
        yield server


def filled(server: PostgreSQLServer, folder: Path) -> tuple[str, dict[bytes, Any]]:
    """Return a new database, and its records."""
    dsn = server.new_database()
    with closing(open_relstorage(dsn, True, folder)) as storage:
        records = {oid: Random(oid).randbytes(3000) for oid in OIDS}
        serial = Writer(storage).commit(records)
    return dsn, {oid: (data, serial, None) for oid, data in records.items()}


def open_files() -> int:
    # Reactors of other tests.
    gc.collect()
    return len(os.listdir("/dev/fd"))


async def load_while(
    loads: RecordLoads, records: dict[bytes, Any], disturb: Callable[[], Deferred[Any]]
) -> None:
    """Load with many loads under way, until a disturbance is over and for a little longer."""
    ends: list[bool] = []

    async def worker(seed: int) -> int:
        random, count = Random(seed), 0
        while not ends:
            count += 1
            oids = random.sample(OIDS, 3)
            if seed % 4:
                assert await loads.load_before(oids[0], maxtid) == records[oids[0]]
            else:
                found = await loads.load_many_before(oids, maxtid)
                assert found == [records[oid] for oid in oids]
        # There is a connection again.
        assert await loads.load_before(OIDS[0], maxtid) == records[OIDS[0]]
        return count

    working = gatherResults([Deferred.fromCoroutine(worker(seed)) for seed in range(40)])
    try:
        await disturb()
    finally:
        ends.append(True)
    assert min(await working) > 1


def test_connections_are_ended_by_the_server(postgresql: PostgreSQLServer, tmp_path: Path) -> None:
    dsn, records = filled(postgresql, tmp_path)

    async def disturb(reactor: Any) -> None:
        ended = 0
        with psycopg.connect(dsn, autocommit=True) as connection:
            for _ in range(20):
                await sleep(reactor, 0.03)
                ended += len(connection.execute(_TERMINATE).fetchall())
        assert ended > 20

    async def main(reactor: Any) -> None:
        before = open_files()
        loads = RecordLoads(dsn, True, reactor, patience=30)
        await loads.open()
        await load_while(loads, records, lambda: Deferred.fromCoroutine(disturb(reactor)))
        loads.close()
        # The threads that connect have ended.
        await sleep(reactor, 0.2)
        assert open_files() == before

    run(main)


def test_connections_are_renewed(postgresql: PostgreSQLServer, tmp_path: Path) -> None:
    dsn, records = filled(postgresql, tmp_path)

    async def main(reactor: Any) -> None:
        before = open_files()
        loads = RecordLoads(dsn, True, reactor, patience=30)
        await loads.open()

        async def disturb() -> None:
            for _ in range(20):
                await sleep(reactor, 0.03)
                loads.renew()

        await load_while(loads, records, lambda: Deferred.fromCoroutine(disturb()))
        loads.close()
        # The threads that connect have ended.
        await sleep(reactor, 0.2)
        assert open_files() == before

    run(main)


def test_a_loss_keeps_the_order(postgresql: PostgreSQLServer, tmp_path: Path) -> None:
    dsn, _ = filled(postgresql, tmp_path)
    came: list[int] = []

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, True, reactor, connections=1, most=5)
        await loads.open()
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("BEGIN")
            connection.execute("LOCK TABLE current_object")
            started = []
            for number in range(50):
                load = loads.load_before(OIDS[number % len(OIDS)], maxtid)
                started.append(load.addCallback(lambda _, number=number: came.append(number)))
            await sleep(reactor, 0.05)
            assert len(connection.execute(_TERMINATE).fetchall()) == 1
            await sleep(reactor, 0.05)
            assert came == []
            connection.execute("COMMIT")
        await gatherResults(started)
        loads.close()

    run(main)
    assert came == list(range(50))


def test_idle_connections_are_ended_by_the_server(
    postgresql: PostgreSQLServer, tmp_path: Path
) -> None:
    dsn, records = filled(postgresql, tmp_path)

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, True, reactor)
        await loads.open()
        with psycopg.connect(dsn, autocommit=True) as connection:
            for pause in (0, 0.2, 0):
                # Without a pause, the loss is not noticed before the load is sent.
                assert len(connection.execute(_TERMINATE).fetchall()) > 0
                await sleep(reactor, pause)
                assert await loads.load_before(OIDS[3], maxtid) == records[OIDS[3]]
        loads.close()

    run(main)


def test_the_drivers_connection_fails_when_a_load_is_sent(
    postgresql: PostgreSQLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn, records = filled(postgresql, tmp_path)
    made = []

    def connect_and_note(dsn: str, limit: float | None) -> Any:
        made.append(connect(dsn, limit))
        return made[-1]

    monkeypatch.setattr("zeotwisted.postgresql.link.connect", connect_and_note)

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, True, reactor)
        await loads.open()
        for connection in made[:]:
            connection.close()
        found = [loads.load_before(oid, maxtid) for oid in OIDS]
        assert await gatherResults(found) == list(records.values())
        assert len(made) > 2
        for connection in made[2:]:
            connection.close()
        found = [loads.load_before(oid, maxtid) for oid in OIDS]
        loads.close()
        for load in found:
            with pytest.raises(StorageError, match="the storage is closed"):
                await load

    run(main)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_the_server_is_started_again(
    server: PostgreSQLServer, tmp_path: Path, number: signal.Signals
) -> None:
    dsn, records = filled(server, tmp_path)

    async def restart(reactor: Any) -> None:
        await sleep(reactor, 0.1)
        await in_thread(reactor, server.kill, number)
        await sleep(reactor, 0.1)
        await in_thread(reactor, server.start)
        await sleep(reactor, 0.1)

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, True, reactor, patience=30)
        await loads.open()
        await load_while(loads, records, lambda: Deferred.fromCoroutine(restart(reactor)))
        loads.close()

    run(main)


def test_the_server_stays_away(server: PostgreSQLServer, tmp_path: Path) -> None:
    dsn, records = filled(server, tmp_path)

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, True, reactor, most=4, patience=0.5)
        await loads.open()
        # Their answers are longer than what the buffers of the sockets take.
        started = [loads.load_before(oid, maxtid) for oid in OIDS for _ in range(100)]
        server.kill(signal.SIGQUIT)
        begin = reactor.seconds()
        failed = 0
        for load in started:
            try:
                await load
            except DatabaseUnreachable as error:
                assert str(error).startswith("the database cannot be reached: ")
                failed += 1
        assert failed > 0
        assert 0.4 < reactor.seconds() - begin < 10
        for _ in range(2):
            begin = reactor.seconds()
            late = [loads.load_before(OIDS[0], maxtid), loads.load_many_before(OIDS, maxtid)]
            for load in late:
                with pytest.raises(DatabaseUnreachable, match="Connection refused"):
                    await load
            assert 0.4 < reactor.seconds() - begin < 10
        waiting = loads.load_before(OIDS[0], maxtid)
        server.start()
        try:
            await waiting
        except DatabaseUnreachable:
            # It took long to start.
            await sleep(reactor, 1.5)
        assert await loads.load_before(OIDS[0], maxtid) == records[OIDS[0]]
        loads.close()

    run(main)


def test_closed_with_loads_in_flight(postgresql: PostgreSQLServer, tmp_path: Path) -> None:
    dsn, records = filled(postgresql, tmp_path)

    async def main(reactor: Any) -> None:
        loads = RecordLoads(dsn, True, reactor, connections=1, most=10)
        await loads.open()
        first = loads.load_before(OIDS[0], maxtid)
        started = [loads.load_before(oid, maxtid) for oid in OIDS * 4]
        started.append(loads.load_many_before(OIDS, maxtid))
        # It is closed by what an answer causes, in the middle of the others.
        first.addCallback(lambda found: (found, loads.close()))
        assert await first == (records[OIDS[0]], None)
        results = []
        for load in started:
            load.addCallbacks(results.append, lambda failure: results.append(failure.value))
        assert len(results) == len(started)
        errors = [result for result in results if isinstance(result, Exception)]
        assert len(errors) >= len(started) - 10
        assert {str(error) for error in errors} == {"the storage is closed"}
        with pytest.raises(StorageError, match="the storage is closed"):
            await loads.load_before(OIDS[0], maxtid)
        loads.close()
        await sleep(reactor, 0.1)

    run(main)
    with psycopg.connect(dsn) as connection:
        others = "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        for _ in range(100):
            if len(connection.execute(others).fetchall()) == 1:
                break
            connection.execute("SELECT pg_sleep(0.05)")
        else:
            raise AssertionError("connections are left")


def test_closed_while_it_connects(server: PostgreSQLServer, tmp_path: Path) -> None:
    dsn, records = filled(server, tmp_path)

    async def main(reactor: Any) -> None:
        for pause in (0, 0.001, 0.005, 0.01, 0.02, 0.05):
            loads = RecordLoads(dsn, True, reactor)
            opening = loads.open()
            load = loads.load_before(OIDS[0], maxtid)
            load.addErrback(lambda failure: str(failure.value))
            if pause:
                await sleep(reactor, pause)
            loads.close()
            await opening
            assert await load in ("the storage is closed", records[OIDS[0]])
        # While it waits for its next attempt.
        loads = RecordLoads(dsn, True, reactor, patience=0.1)
        await loads.open()
        server.stop()
        with pytest.raises(DatabaseUnreachable):
            await loads.load_before(OIDS[0], maxtid)
        loads.load_before(OIDS[0], maxtid).addErrback(lambda _: None)
        loads.close()
        # The threads that connect have ended.
        await sleep(reactor, 0.2)

    run(main)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("port=1", "refused"),
        ("user=nobody_we_know", "does not exist"),
        ("dbname=template1", "object_state|current_object"),
    ],
)
def test_cannot_be_opened(postgresql: PostgreSQLServer, wrong: str, reason: str) -> None:
    async def main(reactor: Any) -> None:
        loads = RecordLoads(f"{postgresql.dsn()} {wrong}", True, reactor)
        with pytest.raises(DatabaseUnreachable, match=reason) as caught:
            await loads.open()
        assert "\n" not in str(caught.value)
        with pytest.raises(StorageError):
            await loads.load_before(OIDS[0], maxtid)

    run(main)
