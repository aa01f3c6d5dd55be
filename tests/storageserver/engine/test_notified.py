"""Which commits are told from their notifications alone, and when the database is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from ZODB.utils import p64, z64

from tests.postgresql import relational
from tests.postgresql.server import PostgreSQLServer
from zeotwisted import postgresql
from zeotwisted.postgresql import Unreachable, connect, install
from zeotwisted.storageserver.engine import OwnCommit
from zeotwisted.storageserver.engine.instances import Instances
from zeotwisted.storageserver.engine.newsreader import Batch
from zeotwisted.storageserver.engine.notified import Notified
from zeotwisted.storageserver.engine.owncommits import OwnCommits


@pytest.fixture
def dsn(postgresql: PostgreSQLServer) -> str:
    return postgresql.new_database()


@pytest.fixture(params=[True, False], ids=["history", "history-free"])
def storage(dsn: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    with (
        closing(relational.open_relstorage(dsn, request.param)) as storage,
        closing(connect(dsn)) as connection,
    ):
        install(connection)
        yield storage


@pytest.fixture
def commits() -> OwnCommits:
    return OwnCommits()


@pytest.fixture
def source(dsn: str, storage: Any, commits: OwnCommits) -> Iterator[Notified]:
    with closing(Notified(dsn, Instances(storage), commits, lambda: None)) as source:
        yield source


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Notes after which transactions the database is asked for what is new."""
    asked: list[bytes] = []
    changes = postgresql.changes

    def note(connection: Any, database: Any, after: bytes, *args: Any) -> Any:
        asked.append(after)
        return changes(connection, database, after, *args)

    monkeypatch.setattr(postgresql, "changes", note)
    return asked


def own_commit(storage: Any, commits: OwnCommits, oid: bytes, data: bytes) -> tuple[bytes, Any]:
    """Commit as a daemon does for its client; return the tid, and the commit."""
    own = OwnCommit(object(), [oid], postgresql.new_mark())
    instance = storage.new_instance()
    try:
        serial = z64
        transaction = relational.voted(instance, {oid: (serial, data)})
        assert own.mark is not None
        postgresql.mark_transaction(instance, own.mark)
        commits.begin(own)
        tid = instance.tpc_finish(transaction)
        commits.finished(own, tid)
    finally:
        instance.release()
    return tid, own


def keeps_history(source: Notified) -> bool:
    return source.database.keep_history


def test_own_commits_in_sequence_need_no_question(
    source: Notified, storage: Any, commits: OwnCommits, questions: list[bytes]
) -> None:
    for number in range(1, 4):
        tid, own = own_commit(storage, commits, p64(number), b"x")
        source.wait()
        batches = source.read(False)
        assert [(each.tid, list(each.oids), each.own) for each in batches] == [
            (tid, [p64(number)], {tid: own})
        ]
    assert len(questions) == (0 if keeps_history(source) else 3)
    # What the notification says is known already.
    assert commits.all_finished() == {}


def test_a_commit_of_another_process_is_asked_for_and_told_first(
    source: Notified, storage: Any, commits: OwnCommits, questions: list[bytes]
) -> None:
    other = relational.commit(storage, {p64(8): (z64, b"y")})
    tid, own = own_commit(storage, commits, p64(1), b"x")
    told: list[Batch] = []
    while not told or told[-1].tid < tid:
        source.wait()
        told += source.read(False)
    if keeps_history(source):
        assert [(each.tid, each.own) for each in told] == [(other, {}), (tid, {tid: own})]
    assert {oid for each in told for oid in each.oids} == {p64(1), p64(8)}
    assert questions[0] == z64


def test_who_asks_is_told_all(
    source: Notified, storage: Any, commits: OwnCommits, questions: list[bytes]
) -> None:
    tid, own = own_commit(storage, commits, p64(1), b"x")
    source.wait()
    assert source.read(True) == [Batch(tid, [p64(1)], {tid: own})]
    assert questions == [z64]


def test_a_commit_that_was_not_notified_is_not_left_out(
    source: Notified, storage: Any, commits: OwnCommits, dsn: str
) -> None:
    """The trigger was switched off for a moment, or a program has switched it off for itself."""
    watched = '"transaction"' if keeps_history(source) else "object_state"
    with closing(connect(dsn)) as connection:
        connection.execute(f"ALTER TABLE {watched} DISABLE TRIGGER zeotwisted_news")
        other = relational.commit(storage, {p64(8): (z64, b"y")})
        connection.execute(f"ALTER TABLE {watched} ENABLE TRIGGER zeotwisted_news")
    tid, _ = own_commit(storage, commits, p64(1), b"x")
    source.wait()
    told = source.read(False)
    assert {oid for each in told for oid in each.oids} == {p64(1), p64(8)}
    assert told[-1].tid == tid
    if keeps_history(source):
        assert told[0].tid == other


def test_a_text_that_somebody_else_sends_only_leads_to_a_question(
    source: Notified, storage: Any, dsn: str, questions: list[bytes]
) -> None:
    own = relational.commit(storage, {p64(1): (z64, b"x")})
    source.wait()
    source.read(False)
    with closing(connect(dsn)) as connection:
        last = int.from_bytes(own, "big")
        for text in (f"{last} {last + 9} 77", f" {last + 9} ", "0 1 1", "nonsense", f"{last} x 1"):
            connection.execute("SELECT pg_notify('zeotwisted', %s)", (text,))
        connection.execute("NOTIFY zeotwisted")
    del questions[:]
    source.wait()
    while source._notices:
        assert source.read(False) == []
    assert questions and set(questions) == {own}


def test_a_failure_loses_nothing_that_is_known(
    source: Notified,
    storage: Any,
    commits: OwnCommits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tid, own = own_commit(storage, commits, p64(1), b"x")
    other = relational.commit(storage, {p64(8): (z64, b"y")})
    changes = postgresql.changes

    def fail(*args: Any) -> Any:
        raise Unreachable("lost")

    monkeypatch.setattr(postgresql, "changes", fail)
    source.wait()
    told: list[Batch] = []
    with pytest.raises(Unreachable):
        while True:
            told += source.read(False)
            source.wait()
    monkeypatch.setattr(postgresql, "changes", changes)
    source.recover()
    told += source.read(False)
    if keeps_history(source):
        assert [(each.tid, each.own) for each in told] == [(tid, {tid: own}), (other, {})]
    else:
        assert [(each.tid, each.own) for each in told] == [(other, {tid: own})]
