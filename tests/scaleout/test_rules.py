"""What a daemon has to wait for before it answers, over a database that others change, too."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from persistent.mapping import PersistentMapping
from transaction.interfaces import TransientError
from ZODB.utils import u64, z64

from tests.postgresql.relational import commit, open_relstorage, voted
from tests.postgresql.server import PostgreSQLServer
from zeotwisted.postgresql import mark_transaction, new_mark

from .cluster import Cluster, cluster, until
from .conftest import Application

Make = Callable[[Any], Application]


def be_silent(running: Cluster) -> None:
    """Have the database send no notifications any more: news come up to a second late."""
    ((body,),) = running.execute(
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'zeotwisted_news'"
    )
    silent = body.replace("PERFORM pg_notify(", "PERFORM concat(")
    assert silent != body
    running.execute(silent)


def test_who_registers_misses_nothing(
    tmp_path: Path, postgresql: PostgreSQLServer, application: Make
) -> None:
    with cluster(tmp_path, postgresql) as running:
        first, second = running.daemons
        one = application([first.address])
        one.set("value", 0)
        be_silent(running)
        for value in range(1, 6):
            one.set("value", value)
            with closing(application([second.address])) as other:
                assert other.get("value") == value


def test_own_news_do_not_hide_what_was_not_notified(
    tmp_path: Path, postgresql: PostgreSQLServer, application: Make
) -> None:
    """The trigger was switched off for a moment."""
    with cluster(tmp_path, postgresql, daemons=1) as running:
        writer, reader = application(running.addresses), application(running.addresses)
        writer.set("box", PersistentMapping())
        writer.set("value", 0, "box")
        writer.set("value", 1)
        oid = writer.connection.root()["box"]._p_oid
        with closing(open_relstorage(running.dsn, True)) as storage:
            data, serial = reader.storage.load(oid)
            changed = data.replace(b"K\x00", b"K\x07")
            assert changed != data
            running.execute('ALTER TABLE "transaction" DISABLE TRIGGER zeotwisted_news')
            commit(storage, {oid: (serial, changed)})
            running.execute('ALTER TABLE "transaction" ENABLE TRIGGER zeotwisted_news')
        writer.set("value", 2)
        until(lambda: reader.get("value") == 2)
        assert reader.get("value", "box") == 7


def test_an_outcome_follows_its_news(
    tmp_path: Path, postgresql: PostgreSQLServer, application: Make
) -> None:
    """The client takes all before it for known."""
    with cluster(tmp_path, postgresql, daemons=1) as running:
        client = application(running.addresses)
        client.set("value", 0)
        be_silent(running)
        with closing(open_relstorage(running.dsn, True)) as storage:
            for _ in range(5):
                data, serial = client.storage.load(z64)
                commit(storage, {z64: (serial, data)})
                mark = new_mark()
                transaction = voted(storage, {z64: (storage.lastTransaction(), data)})
                mark_transaction(storage, mark)
                tid = storage.tpc_finish(transaction)
                assert client.storage._link.call("tpc_committed", mark) == tid
                assert client.storage.lastTransaction() == tid


def test_an_outcome_of_what_has_not_ended(
    tmp_path: Path, postgresql: PostgreSQLServer, application: Make
) -> None:
    """Another daemon may still commit it."""
    with cluster(tmp_path, postgresql, daemons=1) as running:
        client = application(running.addresses)
        client.set("value", 0)
        with closing(open_relstorage(running.dsn, True)) as storage:
            data, serial = client.storage.load(z64)
            mark = new_mark()
            transaction = voted(storage, {z64: (serial, data)})
            mark_transaction(storage, mark)
            answers: list[Any] = []
            ask = client.storage._link.call
            asking = threading.Thread(target=lambda: answers.append(ask("tpc_committed", mark)))
            asking.start()
            waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            until(lambda: answers or running.execute(waiting))
            tid = storage.tpc_finish(transaction)
            asking.join()
        assert answers == [tid]


def test_a_clock_that_was_set_back(
    tmp_path: Path, postgresql: PostgreSQLServer, application: Make
) -> None:
    """Without history, a tid may be lower than that of a transaction that a pack has removed."""
    with cluster(tmp_path, postgresql, keep_history=False, daemons=1) as running:
        one, other = (application(running.addresses) for _ in range(2))
        one.set("value", 0)
        one.set("box", PersistentMapping())
        oid = one.connection.root()["box"]._p_oid
        until(lambda: look(other, "box") is not None)
        # As if it had been committed an hour later.
        running.execute(
            "UPDATE object_state SET tid = tid + (60::bigint << 32) WHERE zoid = %s", u64(oid)
        )
        running.execute("NOTIFY zeotwisted")
        late = u64(one.storage.lastTransaction())
        until(lambda: u64(other.storage.lastTransaction()) > late)
        running.execute("DELETE FROM object_state WHERE zoid = %s", u64(oid))
        # What is committed now has a lower tid: at once, and when the daemon has noticed it.
        one.set("value", 1)
        until(lambda: look(other, "value") == 1)
        until(lambda: "the clock of the database was set back" in running.logs)
        with closing(open_relstorage(running.dsn, False)) as storage:
            data, serial = storage.load(z64)
            commit(storage, {z64: (serial, data)})
            last = storage.lastTransaction()
        until(lambda: other.storage.lastTransaction() == last)
        until(lambda: look(other, "value") == 1)
        assert other.connection.root()._p_serial == last


def look(client: Application, key: str) -> Any:
    """Return what it sees; None while it connects again, or has a conflict.

    Without history, a transaction that begins before the news of a commit cannot read what that
    has replaced: this is a conflict.
    """
    try:
        return client.get(key)
    except TransientError:
        return None
