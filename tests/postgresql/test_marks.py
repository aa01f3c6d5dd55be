"""Whether a transaction is committed, told by its mark over another connection."""

from __future__ import annotations

import signal
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from unittest import mock

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, u64, z64

from tests.postgresql.server import PostgreSQLServer, missing_programs
from zeotwisted.postgresql import (
    NO_TID,
    InDoubt,
    PostgreSQLError,
    changes,
    connect,
    examine,
    forget_old,
    install,
    mark_transaction,
    new_mark,
    outcome,
    write,
)

relational = pytest.importorskip("tests.postgresql.relational")

OID = p64(1)
PATIENCE = 20.0


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    if "connection" in request.fixturenames:
        install(request.getfixturevalue("connection"))


def marked(storage: Any, serial: bytes = z64) -> tuple[Any, bytes]:
    """Return a transaction that is voted and marked, and its mark."""
    transaction = relational.voted(storage, {OID: (serial, b"data")})
    mark = new_mark()
    mark_transaction(storage, mark)
    return transaction, mark


def pid(storage: Any) -> int:
    """Return the number of the process that does the work of the storage's transaction."""
    cursor = storage._tpc_phase.shared_state.store_connection.cursor
    cursor.execute("SELECT pg_backend_pid()")
    (found,) = cursor.fetchone()
    return int(found)


def is_blocked(connection: Any) -> bool:
    """Return whether anybody waits for an advisory lock."""
    (count,) = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    ).fetchone()
    return bool(count)


def test_marks_are_none_of_relstorages_locks() -> None:
    numbers = [int.from_bytes(new_mark(), "big", signed=True) for _ in range(1000)]
    assert max(numbers) < -1000 and min(numbers) >= -(2**63)
    assert len(set(numbers)) == 1000


def test_a_mark_next_to_relstorages_locks_is_not_used() -> None:
    drawn = [b"\x7f" + bytes(7), b"\xff" * 7 + b"\xfe", b"\x80" + bytes(7)]
    with mock.patch("os.urandom", side_effect=drawn):
        assert new_mark() == drawn[-1]


def test_a_committed_transaction_has_its_tid(storage: Any, connection: Any) -> None:
    transaction, mark = marked(storage)
    tid = storage.tpc_finish(transaction)
    assert outcome(connection, mark, PATIENCE) == tid
    transaction, second = marked(storage, tid)
    later = storage.tpc_finish(transaction)
    assert outcome(connection, mark, PATIENCE) == tid
    assert outcome(connection, second, PATIENCE) == later


def test_an_unknown_mark_is_not_committed(connection: Any) -> None:
    assert outcome(connection, new_mark(), PATIENCE) is None


def test_an_aborted_transaction_is_not_committed(storage: Any, connection: Any) -> None:
    transaction, mark = marked(storage)
    storage.tpc_abort(transaction)
    assert outcome(connection, mark, PATIENCE) is None


def test_one_that_goes_on_is_in_doubt(storage: Any, connection: Any) -> None:
    transaction, mark = marked(storage)
    with pytest.raises(InDoubt, match=r"has not ended within 0\.01 seconds"):
        outcome(connection, mark, 0.01)
    with pytest.raises(InDoubt):
        outcome(connection, mark, 0)
    tid = storage.tpc_finish(transaction)
    assert outcome(connection, mark, 0) == tid
    # The patience was for that statement.
    assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)


@pytest.mark.parametrize("commits", [True, False])
def test_one_that_goes_on_is_waited_for(
    storage: Any, connection: Any, dsn: str, commits: bool
) -> None:
    transaction, mark = marked(storage)
    with ThreadPoolExecutor(2) as pool, closing(connect(dsn)) as one, closing(connect(dsn)) as two:
        asked = [pool.submit(outcome, asking, mark, PATIENCE) for asking in (one, two)]
        while not is_blocked(connection):
            assert not any(ask.done() for ask in asked)
        tid = storage.tpc_finish(transaction) if commits else storage.tpc_abort(transaction)
        assert [ask.result() for ask in asked] == [tid, tid]


@pytest.mark.parametrize("step", ["before the mark", "after the mark", "within the finish"])
def test_a_terminated_backend_commits_all_or_nothing(
    storage: Any, connection: Any, dsn: str, step: str
) -> None:
    first = relational.commit(storage, {OID: (z64, b"first")})
    transaction = relational.voted(storage, {OID: (first, b"second")})
    mark = new_mark()
    victim = pid(storage)

    def terminate() -> None:
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", (victim,))

    with pytest.raises(Exception) as caught:
        if step == "before the mark":
            terminate()
        mark_transaction(storage, mark)
        if step == "after the mark":
            terminate()
        if step == "within the finish":
            # It waits for the commit lock, which is in our hands.
            with (
                closing(connect(dsn)) as holder,
                holder.transaction(),
                ThreadPoolExecutor(1) as pool,
            ):
                holder.execute("SELECT pg_advisory_xact_lock(-1)")
                finishing = pool.submit(storage.tpc_finish, transaction)
                while not is_blocked(connection):
                    assert not finishing.done()
                terminate()
                finishing.result()
        storage.tpc_finish(transaction)
    assert not isinstance(caught.value, AssertionError)
    storage.tpc_abort(transaction)
    assert outcome(connection, mark, PATIENCE) is None
    found = changes(connection, examine(connection), first)
    assert found == []
    # The storage goes on with a new connection.
    transaction, mark = marked(storage, first)
    tid = storage.tpc_finish(transaction)
    assert outcome(connection, mark, PATIENCE) == tid


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL])
@pytest.mark.parametrize("finished", [True, False])
def test_a_killed_server_tells_after_its_recovery(number: int, finished: bool) -> None:
    if missing_programs():
        pytest.skip(str(missing_programs()))
    with PostgreSQLServer(fsync=True) as server:
        dsn = server.new_database()
        with closing(relational.open_relstorage(dsn, True)) as storage:
            with closing(connect(dsn)) as connection:
                install(connection)
            transaction, mark = marked(storage)
            tid = storage.tpc_finish(transaction) if finished else None
            server.kill(number)
            server.start()
            with closing(connect(dsn)) as connection:
                assert outcome(connection, mark, PATIENCE) == tid


def test_a_standby_does_not_tell_what_it_does_not_have(dsn: str) -> None:
    if missing_programs():
        pytest.skip(str(missing_programs()))
    with PostgreSQLServer() as server:
        dsn = server.new_database()
        with closing(relational.open_relstorage(dsn, True)) as storage:
            with closing(connect(dsn)) as connection:
                install(connection)
            transaction, mark = marked(storage)
            tid = storage.tpc_finish(transaction)
            with server.standby() as standby:
                name = dsn.rpartition("=")[2]
                with closing(connect(standby.dsn(name))) as copy:
                    assert outcome(copy, mark, PATIENCE) == tid
                    database = examine(copy)
                    assert database.in_recovery and database.timeline == 1
                    with pytest.raises(InDoubt, match="ask the primary server"):
                        outcome(copy, new_mark(), PATIENCE)
                    with pytest.raises(PostgreSQLError, match="this is a standby"):
                        install(copy)
                    standby.promote()
                    assert outcome(copy, new_mark(), PATIENCE) is None
                    promoted = examine(copy)
                assert not promoted.in_recovery and promoted.timeline == 2
                assert promoted.identity == database.identity


def test_undone_transactions_have_marks(dsn: str) -> None:
    with (
        closing(relational.open_relstorage(dsn, True)) as storage,
        closing(connect(dsn)) as connection,
    ):
        install(connection)
        first = relational.commit(storage, {OID: (z64, b"first")})
        second = relational.commit(storage, {OID: (first, b"second")})
        transaction = relational.begun(storage)
        storage.undo(b64encode(second).rstrip(b"\n"), transaction)
        storage.tpc_vote(transaction)
        mark = new_mark()
        mark_transaction(storage, mark)
        tid = storage.tpc_finish(transaction)
        assert outcome(connection, mark, PATIENCE) == tid
        assert [
            change.marks for change in changes(connection, examine(connection), second) or ()
        ] == [[(tid, mark)]]


def test_deletions_have_marks(storage: Any, connection: Any, keep_history: bool) -> None:
    first = relational.commit(storage, {OID: (z64, b"first"), p64(2): (z64, b"other")})
    transaction = relational.begun(storage)
    storage.deleteObject(OID, first, transaction)
    storage.tpc_vote(transaction)
    mark = new_mark()
    mark_transaction(storage, mark)
    tid = storage.tpc_finish(transaction)
    # Without history, no row has the tid.
    assert outcome(connection, mark, PATIENCE) == (tid if keep_history else NO_TID)


def test_empty_transactions_have_marks(storage: Any, connection: Any, keep_history: bool) -> None:
    relational.commit(storage, {OID: (z64, b"first")})
    transaction = relational.voted(storage, {})
    mark = new_mark()
    mark_transaction(storage, mark)
    tid = storage.tpc_finish(transaction)
    assert outcome(connection, mark, PATIENCE) == (tid if keep_history else NO_TID)


def test_without_the_trigger_it_is_still_known_that_it_is_committed(
    storage: Any, connection: Any, keep_history: bool
) -> None:
    watched = "transaction" if keep_history else "object_state"
    connection.execute(f"DROP TRIGGER zeotwisted_news ON {watched}")
    transaction, mark = marked(storage)
    storage.tpc_finish(transaction)
    assert outcome(connection, mark, PATIENCE) == NO_TID


@pytest.fixture
def original(tmp_path: Any) -> Iterator[Any]:
    """A storage with two transactions, from long ago."""
    with closing(FileStorage(str(tmp_path / "Data.fs"))) as original:
        tid = relational.commit(original, {OID: (z64, b"first")})
        relational.commit(original, {OID: (tid, b"second")})
        yield original


def test_restored_transactions_have_marks(
    storage: Any, connection: Any, original: Any, keep_history: bool
) -> None:
    relational.commit(storage, {p64(7): (z64, b"newer")})
    marks = []
    vote: Callable[[Any], Any] = storage.tpc_vote

    def vote_and_mark(transaction: Any) -> Any:
        result = vote(transaction)
        marks.append(new_mark())
        mark_transaction(storage, marks[-1])
        return result

    with mock.patch.object(storage, "tpc_vote", vote_and_mark):
        for found in original.iterator():
            storage.tpc_begin(found, found.tid, found.status)
            for record in found:
                storage.restore(record.oid, record.tid, record.data, "", None, found)
            storage.tpc_vote(found)
            storage.tpc_finish(found)
    tids = [found.tid for found in original.iterator()]
    assert [outcome(connection, mark, PATIENCE) for mark in marks] == tids


def test_a_copy_into_a_marked_database_works(storage: Any, connection: Any, original: Any) -> None:
    storage.copyTransactionsFrom(original)
    assert (changes(connection, examine(connection), z64) or [])[-1].oids == [OID]
    assert connection.execute("SELECT count(*) FROM zeotwisted_commit").fetchone() == (0,)


def test_early_locks_have_marks(storage: Any, connection: Any) -> None:
    """With them, the tid is chosen in the vote: before there is a mark."""
    with mock.patch("relstorage.storage.tpc.vote.LOCK_EARLY", True):
        transaction, mark = marked(storage)
    tid = storage.tpc_finish(transaction)
    assert outcome(connection, mark, PATIENCE) == tid


def test_a_mark_is_used_once(storage: Any, connection: Any) -> None:
    transaction, mark = marked(storage)
    tid = storage.tpc_finish(transaction)
    transaction = relational.voted(storage, {OID: (tid, b"again")})
    with pytest.raises(Exception, match="duplicate key"):
        mark_transaction(storage, mark)
    storage.tpc_abort(transaction)
    assert outcome(connection, mark, PATIENCE) == tid


@pytest.mark.parametrize("driver", ["psycopg2", "pg8000"])
def test_drivers_of_relstorage_write_marks(
    dsn: str, storage: Any, connection: Any, keep_history: bool, driver: str
) -> None:
    pytest.importorskip(driver)
    with closing(relational.open_relstorage(dsn, keep_history, driver=driver)) as other:
        transaction, mark = marked(other)
        tid = other.tpc_finish(transaction)
    assert outcome(connection, mark, PATIENCE) == tid


def test_other_cursors_write_marks(dsn: str, connection: Any, storage: Any) -> None:
    mark = new_mark()
    with closing(connect(dsn)) as other, other.transaction():
        write(other.cursor(), mark, u64(b"\0\0\0\0\0\0\0\5"))
        with pytest.raises(InDoubt):
            outcome(connection, mark, 0.01)
    assert outcome(connection, mark, PATIENCE) == p64(5)


def test_other_storages_cannot_be_marked(original: Any, storage: Any) -> None:
    for wrong in (original, storage):
        with pytest.raises(PostgreSQLError, match="cannot be marked") as caught:
            mark_transaction(wrong, new_mark())
        assert "\n" not in str(caught.value)


def test_old_marks_are_forgotten(storage: Any, connection: Any) -> None:
    transaction, old = marked(storage)
    tid = storage.tpc_finish(transaction)
    connection.execute("UPDATE zeotwisted_commit SET made = now() - interval '25 hours'")
    transaction, young = marked(storage, tid)
    second = storage.tpc_finish(transaction)
    assert forget_old(connection) == 1
    assert outcome(connection, old, PATIENCE) is None
    assert outcome(connection, young, PATIENCE) == second
    assert forget_old(connection, 0) == 1
