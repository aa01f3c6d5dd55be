"""What is installed, and how it bears what RelStorage and operators do."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import Any

import pytest
from ZODB.serialize import referencesf
from ZODB.tests.MinPO import MinPO
from ZODB.tests.StorageTestBase import zodb_pickle
from ZODB.utils import p64, z64

from tests.postgresql.server import PostgreSQLServer
from zeotwisted.postgresql import (
    DriverMissing,
    PostgreSQLError,
    Unreachable,
    WrongSchema,
    changes,
    check,
    connect,
    examine,
    install,
    mark_transaction,
    new_mark,
    outcome,
    setup,
    statements,
    undo,
)

# After the server's module: without PostgreSQL's programs, nothing here needs RelStorage.
relational = pytest.importorskip("tests.postgresql.relational")

OID = p64(1)


def objects(connection: Any) -> list[tuple[str, str]]:
    """Return the kinds and the names of all that is in the schema."""
    found = connection.execute(
        "SELECT relkind::text, relname::text FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace "
        "UNION ALL SELECT 'function', proname FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace "
        "UNION ALL SELECT 'trigger', tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid "
        "WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal"
    ).fetchall()
    return sorted(found)


def test_an_installation_is_complete_and_nothing_is_left_to_do(connection: Any) -> None:
    assert check(examine(connection)) != []
    assert install(connection) != []
    database = examine(connection)
    assert check(database) == [] and statements(database) == []
    assert database.version == setup.VERSION
    assert install(connection) == []


def test_undo_leaves_what_was_there_before(connection: Any) -> None:
    before = objects(connection)
    install(connection)
    assert objects(connection) != before
    undo(connection)
    assert objects(connection) == before
    undo(connection)
    install(connection)
    assert check(examine(connection)) == []


def test_what_is_shown_is_all_that_is_needed(connection: Any) -> None:
    for statement in statements(examine(connection)):
        connection.execute(statement)
    assert check(examine(connection)) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DROP TABLE zeotwisted_commit", "the table zeotwisted_commit is missing"),
        ("ALTER TABLE {watched} DISABLE TRIGGER zeotwisted_news", "missing, or disabled"),
        ("DROP TRIGGER zeotwisted_news ON {watched}", "trigger zeotwisted_news is missing"),
        (
            "DROP TRIGGER zeotwisted_news_truncate ON {watched}",
            "zeotwisted_news_truncate is missing",
        ),
        ("COMMENT ON FUNCTION zeotwisted_news() IS 'zeotwisted 0'", "of version 0, not 2"),
        (
            "CREATE OR REPLACE FUNCTION zeotwisted_news() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN NULL; END'",
            "is that of version 2, not 2",
        ),
        ("DROP FUNCTION zeotwisted_news() CASCADE", "function zeotwisted_news is missing"),
    ],
)
def test_damage_is_found_and_mended(
    connection: Any, keep_history: bool, damage: str, said: str
) -> None:
    install(connection)
    watched = "transaction" if keep_history else "object_state"
    connection.execute(damage.format(watched=watched))
    assert any(said in problem for problem in check(examine(connection)))
    install(connection)
    assert check(examine(connection)) == []


def test_a_database_with_data_keeps_them(storage: Any, connection: Any) -> None:
    tid = relational.commit(storage, {OID: (z64, b"first")})
    install(connection)
    relational.commit(storage, {OID: (tid, b"second")})
    assert storage.load(OID)[0] == b"second"
    assert [change.oids for change in changes(connection, examine(connection), tid) or ()] == [
        [OID]
    ]


def test_relstorage_opens_it_again_and_finds_nothing_to_mend(
    storage: Any, connection: Any, dsn: str, keep_history: bool
) -> None:
    install(connection)
    before = objects(connection)
    with closing(relational.open_relstorage(dsn, keep_history)) as again:
        relational.commit(again, {OID: (z64, b"data")})
    assert objects(connection) == before
    assert check(examine(connection)) == []


@pytest.mark.parametrize("slow", [False, True])
def test_emptied_tables_have_their_triggers(storage: Any, connection: Any, slow: bool) -> None:
    install(connection)
    relational.commit(storage, {OID: (z64, b"data")})
    storage.zap_all(slow=slow)
    assert check(examine(connection)) == []


def test_marks_are_gone_when_the_database_is_emptied(storage: Any, connection: Any) -> None:
    install(connection)
    mark = new_mark()
    transaction = relational.voted(storage, {OID: (z64, b"data")})
    mark_transaction(storage, mark)
    storage.tpc_finish(transaction)
    storage.zap_all()
    assert outcome(connection, mark, 1.0) is None


def test_dropped_tables_are_made_again_without_triggers_and_that_is_found(
    storage: Any, connection: Any
) -> None:
    install(connection)
    storage._adapter.schema.drop_all()
    storage._adapter.schema.prepare()
    assert check(examine(connection)) == [
        "the trigger zeotwisted_news is missing, or disabled",
        "the trigger zeotwisted_news_truncate is missing, or disabled",
    ]
    install(connection)
    assert check(examine(connection)) == []


def test_a_pack_is_not_disturbed(storage: Any, connection: Any) -> None:
    install(connection)
    record = zodb_pickle(MinPO(1))
    tid = relational.commit(storage, {p64(0): (z64, record), OID: (z64, record)})
    relational.commit(storage, {p64(0): (tid, record)})
    storage.pack(time.time() + 60, referencesf)
    assert check(examine(connection)) == []


def test_other_roles_may_commit(
    postgresql: PostgreSQLServer, dsn: str, storage: Any, connection: Any, keep_history: bool
) -> None:
    install(connection)
    connection.execute("DROP ROLE IF EXISTS writer")
    connection.execute("CREATE ROLE writer LOGIN")
    for kind in ("TABLES", "SEQUENCES"):
        connection.execute(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO writer")
    connection.execute("REVOKE ALL ON zeotwisted_commit FROM writer")
    theirs = postgresql.dsn(examine(connection).identity.name, "writer")
    try:
        with closing(
            relational.open_relstorage(theirs, keep_history, create_schema=False)
        ) as other:
            tid = relational.commit(other, {OID: (z64, b"data")})
        found = changes(connection, examine(connection), z64)
        assert found is not None and found[-1].tid == tid
        for rights in ("", "SELECT", "SELECT, INSERT"):
            if rights:
                connection.execute(f"GRANT {rights} ON zeotwisted_commit TO writer")
            with closing(connect(theirs)) as another:
                (problem,) = check(examine(another))
                assert "the role writer may not use the table" in problem
        connection.execute("GRANT DELETE ON zeotwisted_commit TO writer")
        with closing(connect(theirs)) as another:
            assert check(examine(another)) == []
    finally:
        connection.execute("DROP OWNED BY writer")


def test_a_role_without_rights_is_told_which_one_has_them(
    postgresql: PostgreSQLServer, storage: Any, connection: Any
) -> None:
    connection.execute("DROP ROLE IF EXISTS stranger")
    connection.execute("CREATE ROLE stranger LOGIN")
    theirs = postgresql.dsn(examine(connection).identity.name, "stranger")
    before = objects(connection)
    with closing(connect(theirs)) as other, pytest.raises(PostgreSQLError) as caught:
        install(other)
    assert "use the role zodb, which owns the tables" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert objects(connection) == before


def test_what_a_superuser_installs_belongs_to_the_owner(
    postgresql: PostgreSQLServer, keep_history: bool
) -> None:
    dsn = postgresql.new_database("alice")
    with closing(relational.open_relstorage(dsn, keep_history)) as storage:
        name = dsn.rpartition("=")[2]
        with closing(connect(postgresql.dsn(name))) as superuser:
            install(superuser)
        with closing(connect(dsn)) as owner:
            assert check(examine(owner)) == []
            mark = new_mark()
            transaction = relational.voted(storage, {OID: (z64, b"data")})
            mark_transaction(storage, mark)
            tid = storage.tpc_finish(transaction)
            assert outcome(owner, mark, 1.0) == tid
            undo(owner)


def test_a_writer_that_takes_long_is_waited_for_and_then_the_reason_is_said(
    storage: Any, connection: Any, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "_LOCK_TIMEOUT", "SET LOCAL lock_timeout = '50ms'")
    with closing(connect(dsn)) as other, other.transaction():
        other.execute("LOCK TABLE object_state IN ROW EXCLUSIVE MODE")
        if examine(connection).keep_history:
            other.execute("LOCK TABLE transaction IN ROW EXCLUSIVE MODE")
        with pytest.raises(PostgreSQLError, match="try again later"):
            install(connection)
    install(connection)


def test_a_database_without_tables_is_refused(dsn: str) -> None:
    with (
        closing(connect(dsn)) as connection,
        pytest.raises(WrongSchema, match="has no tables of RelStorage; open it once"),
    ):
        examine(connection)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE object_state DROP COLUMN state_size", "object_state.state_size is missing"),
        (
            "ALTER TABLE blob_chunk DROP CONSTRAINT blob_chunk_fk CASCADE; "
            "ALTER TABLE object_state ALTER COLUMN zoid TYPE numeric",
            "object_state.zoid is numeric",
        ),
    ],
)
def test_other_tables_are_refused(dsn: str, change: str, said: str) -> None:
    with closing(relational.open_relstorage(dsn, False)), closing(connect(dsn)) as connection:
        connection.execute(change)
        with pytest.raises(WrongSchema, match=said):
            examine(connection)


def test_the_tables_may_be_in_another_schema(postgresql: PostgreSQLServer) -> None:
    dsn = postgresql.new_database()
    with closing(relational.open_relstorage(dsn, True)), closing(connect(dsn)) as connection:
        connection.execute('ALTER SCHEMA public RENAME TO "Other ""one"""')
        connection.execute('SET search_path = "Other ""one"""')
        install(connection)
        database = examine(connection)
        assert database.schema == 'Other "one"' and check(database) == []


def test_databases_differ_by_their_identity(postgresql: PostgreSQLServer) -> None:
    found = []
    for dsn in (postgresql.new_database(), postgresql.new_database()):
        with closing(relational.open_relstorage(dsn, True)), closing(connect(dsn)) as connection:
            found.append(examine(connection))
            assert examine(connection).identity == found[-1].identity
    assert found[0].identity != found[1].identity
    assert found[0].identity.system == found[1].identity.system is not None
    assert found[0].timeline == 1


@pytest.mark.parametrize(
    "dsn", ["host=127.0.0.1 port=1 user=zodb password=secret", "nonsense", "port=x"]
)
def test_a_server_that_cannot_be_reached_is_said_in_one_line(dsn: str) -> None:
    with pytest.raises(Unreachable) as caught:
        connect(dsn)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_lost_connection_is_said_in_one_line(connection: Any, dsn: str) -> None:
    with closing(connect(dsn)) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    with pytest.raises(Unreachable, match="the connection to PostgreSQL is lost") as caught:
        examine(connection)
    assert "\n" not in str(caught.value)


def test_the_driver_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DriverMissing, match=r"pip install 'zeotwisted\[postgresql\]'"):
        connect("")
