"""The news of commits: complete, in order, each once."""

from __future__ import annotations

from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any

import pytest
from ZODB.utils import p64, z64

from zeotwisted.postgresql import (
    Change,
    Database,
    Listener,
    changes,
    connect,
    examine,
    install,
    last_tid,
    mark_transaction,
    new_mark,
)

relational = pytest.importorskip("tests.postgresql.relational")

WRITERS = 4
COMMITS = 200


def told(connection: Any, database: Database, after: bytes = z64) -> list[Change]:
    """Return the changes, the objects in order."""
    found = changes(connection, database, after)
    assert found is not None
    return [Change(change.tid, sorted(change.oids), change.marks) for change in found]


def test_an_empty_database_has_no_news(connection: Any) -> None:
    database = examine(connection)
    assert last_tid(connection, database) == z64
    assert changes(connection, database, z64) == []
    install(connection)
    assert changes(connection, examine(connection), z64) == []


@pytest.mark.parametrize("installed", [False, True])
def test_what_is_newer_is_told(
    storage: Any, connection: Any, keep_history: bool, installed: bool
) -> None:
    if installed:
        install(connection)
    database = examine(connection)
    first = relational.commit(storage, {p64(1): (z64, b"a"), p64(2): (z64, b"b")})
    second = relational.commit(storage, {p64(2): (first, b"c"), p64(3): (z64, b"d")})
    changed = Change(second, [p64(2), p64(3)], [])
    assert told(connection, database, first) == [changed]
    assert told(connection, database, second) == []
    assert last_tid(connection, database) == second
    if keep_history:
        assert told(connection, database) == [Change(first, [p64(1), p64(2)], []), changed]
    else:
        assert told(connection, database) == [Change(second, [p64(1), p64(2), p64(3)], [])]


def test_marks_are_told_with_their_tids(storage: Any, connection: Any, keep_history: bool) -> None:
    install(connection)
    database = examine(connection)
    marks = []
    serial = z64
    for _ in range(3):
        mark = new_mark()
        transaction = relational.voted(storage, {p64(1): (serial, b"data")})
        mark_transaction(storage, mark)
        serial = storage.tpc_finish(transaction)
        marks.append((serial, mark))
    found = told(connection, database)
    assert [mark for change in found for mark in change.marks] == marks
    assert [change.tid for change in found] == [
        tid for tid, _ in marks[-3 if keep_history else -1 :]
    ]


def test_a_transaction_whose_objects_are_all_gone_has_its_mark_told(dsn: str) -> None:
    with (
        closing(relational.open_relstorage(dsn, False)) as storage,
        closing(connect(dsn)) as connection,
    ):
        install(connection)
        database = examine(connection)
        first = relational.commit(storage, {p64(1): (z64, b"data")})
        transaction = relational.voted(storage, {p64(2): (z64, b"data")})
        mark = new_mark()
        mark_transaction(storage, mark)
        second = storage.tpc_finish(transaction)
        connection.execute("DELETE FROM object_state WHERE zoid = 2")
        assert told(connection, database, first) == [Change(first, [], [(second, mark)])]
        assert last_tid(connection, database) == first


def test_undone_and_empty_transactions_are_told(dsn: str) -> None:
    with (
        closing(relational.open_relstorage(dsn, True)) as storage,
        closing(connect(dsn)) as connection,
    ):
        install(connection)
        database = examine(connection)
        first = relational.commit(storage, {p64(1): (z64, b"a")})
        second = relational.commit(storage, {p64(1): (first, b"b")})
        transaction = relational.begun(storage)
        storage.undo(b64encode(second).rstrip(b"\n"), transaction)
        storage.tpc_vote(transaction)
        third = storage.tpc_finish(transaction)
        empty = relational.commit(storage, {})
        assert told(connection, database, second) == [
            Change(third, [p64(1)], []),
            Change(empty, [], []),
        ]


def test_too_much_is_not_told(storage: Any, connection: Any, keep_history: bool) -> None:
    database = examine(connection)
    first = relational.commit(storage, {p64(oid): (z64, b"data") for oid in range(10)})
    assert changes(connection, database, z64, 9) is None
    assert len((changes(connection, database, z64, 10) or [])[0].oids) == 10
    relational.commit(storage, {p64(oid): (first, b"data") for oid in range(5)})
    assert (changes(connection, database, z64, 14) is None) == keep_history


def test_too_many_marks_are_not_told(dsn: str) -> None:
    with (
        closing(relational.open_relstorage(dsn, False)) as storage,
        closing(connect(dsn)) as connection,
    ):
        install(connection)
        serial = z64
        for _ in range(4):
            transaction = relational.voted(storage, {p64(1): (serial, b"data")})
            mark_transaction(storage, new_mark())
            serial = storage.tpc_finish(transaction)
        database = examine(connection)
        assert changes(connection, database, z64, 3) is None
        assert changes(connection, database, z64, 4) is not None


@pytest.fixture
def filled(storage: Any, connection: Any, keep_history: bool) -> bytes:
    """A database that is too large to be read as a whole; its last tid."""
    install(connection)
    if keep_history:
        connection.execute(
            "INSERT INTO transaction (tid, username, description) "
            "SELECT number, '', '' FROM generate_series(1, 5000) AS number"
        )
    serial = z64
    for _ in range(10):
        records = {p64(oid): (serial, b"data") for oid in range(1000)}
        serial = relational.commit(storage, records)
    return serial


@pytest.mark.parametrize("analysed", [False, True])
def test_an_index_is_used(connection: Any, filled: bytes, analysed: bool) -> None:
    database = examine(connection)
    if analysed:
        connection.execute("VACUUM ANALYZE")
    connection.execute("LOAD 'auto_explain'")
    connection.execute("SET auto_explain.log_min_duration = 0")
    connection.execute("SET client_min_messages = log")
    plans: list[str] = []
    connection.add_notice_handler(lambda notice: plans.append(notice.message_primary))
    changes(connection, database, filled)
    last_tid(connection, database)
    assert len(plans) == 2
    for plan in plans:
        assert "Index" in plan
        assert "Seq Scan" not in plan and "JIT" not in plan


def write(storage: Any, number: int, start: Barrier) -> list[tuple[bytes, list[bytes]]]:
    """Commit to objects of one writer; return what was committed."""
    done = []
    own = {p64(1000 * (number + 1) + index): z64 for index in range(1, 6)}
    # To close one would close the connections of all.
    instance = storage.new_instance()
    try:
        start.wait()
        for index in range(COMMITS):
            chosen = list(own)[: index % 5 + 1]
            tid = relational.commit(instance, {oid: (own[oid], b"%d" % index) for oid in chosen})
            own.update(dict.fromkeys(chosen, tid))
            done.append((tid, chosen))
    finally:
        instance.release()
    return done


def test_every_commit_is_told_once_in_order_with_all_its_objects(
    storage: Any, connection: Any, dsn: str, keep_history: bool
) -> None:
    install(connection)
    database = examine(connection)
    start = Barrier(WRITERS)
    found: list[Change] = []
    with (
        closing(Listener(dsn)) as listener,
        closing(connect(dsn)) as reading,
        ThreadPoolExecutor(WRITERS + 1) as pool,
    ):
        writers = [pool.submit(write, storage, number, start) for number in range(WRITERS)]

        def finish() -> list[tuple[bytes, list[bytes]]]:
            done = [commit for writer in writers for commit in writer.result()]
            return [*done, (relational.commit(storage, {p64(1): (z64, b"last")}), [p64(1)])]

        finisher = pool.submit(finish)
        while not found or p64(1) not in found[-1].oids:
            # The last notification is that of the last commit: with it, or before, all is told.
            assert listener.wait(30.0), "a commit was not notified"
            news = changes(reading, database, found[-1].tid if found else z64)
            assert news is not None
            found += news
        written = sorted(finisher.result())
    assert len(written) == WRITERS * COMMITS + 1 and len(found) > 1
    tids = [change.tid for change in found]
    assert tids == sorted(set(tids))
    if keep_history:
        assert [(change.tid, sorted(change.oids)) for change in found] == written
        stored = [
            (record.tid, sorted(entry.oid for entry in record)) for record in storage.iterator()
        ]
        assert [(change.tid, sorted(change.oids)) for change in found] == stored
    else:
        # Each batch has all that was committed since the one before it, unless it was again later.
        before = z64
        for change in found:
            batch = [oids for tid, oids in written if before < tid <= change.tid]
            assert set(change.oids) == {oid for oids in batch for oid in oids}
            assert len(change.oids) == len(set(change.oids))
            before = change.tid
    assert tids[-1] == written[-1][0]


def test_without_the_trigger_the_news_are_there_but_nobody_is_woken(
    storage: Any, connection: Any, dsn: str, keep_history: bool
) -> None:
    install(connection)
    database = examine(connection)
    with closing(Listener(dsn)) as listener:
        first = relational.commit(storage, {p64(1): (z64, b"a")})
        assert listener.wait(10.0)
        watched = "transaction" if keep_history else "object_state"
        connection.execute(f"DROP TRIGGER zeotwisted_news ON {watched}")
        second = relational.commit(storage, {p64(1): (first, b"b")})
        # What is notified after it would come after it.
        connection.execute("NOTIFY zeotwisted")
        assert listener.wait(10.0)
        assert not listener.wait(0)
        assert told(connection, database, first) == [Change(second, [p64(1)], [])]


def test_aborted_transactions_are_no_news(storage: Any, connection: Any, dsn: str) -> None:
    install(connection)
    database = examine(connection)
    with closing(Listener(dsn)) as listener:
        transaction = relational.voted(storage, {p64(1): (z64, b"a")})
        mark_transaction(storage, new_mark())
        storage.tpc_abort(transaction)
        connection.execute("NOTIFY zeotwisted")
        assert listener.wait(10.0)
        assert not listener.wait(0)
        assert told(connection, database) == []
