"""Whoever waits for an answer to RelStorage can be freed."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from ZODB.utils import p64, z64

from zeotwisted.postgresql import OpenedConnections, connect

relational = pytest.importorskip("tests.postgresql.relational")

OID = p64(1)


def waits(connection: Any) -> bool:
    """Return whether anybody waits for a lock in this database."""
    (count,) = connection.execute(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    return bool(count)


@pytest.mark.parametrize("commits", [False, True])
def test_who_waits_gets_an_exception(
    storage: Any, connection: Any, dsn: str, keep_history: bool, commits: bool
) -> None:
    opened = OpenedConnections(storage)
    tid = relational.commit(storage, {OID: (z64, b"first")})
    tables = "object_state, current_object" if keep_history else "object_state"
    # They release their views, and keep their connections.
    instance = storage.new_instance()
    for each in (storage, instance):
        each.poll_invalidations()
        each.sync(True)
    with ThreadPoolExecutor(1) as pool, closing(connect(dsn)) as holder, holder.transaction():
        holder.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
        if commits:
            waiting = pool.submit(relational.commit, instance, {OID: (tid, b"second")})
        else:
            waiting = pool.submit(instance.poll_invalidations)
        while not waits(connection):
            assert not waiting.done(), waiting.result()
        # RelStorage connects once more for a load.
        while not waiting.done():
            opened.cut()
        with pytest.raises(Exception, match="connection"):
            waiting.result()
        # Nobody is there any more.
        opened.cut()
    instance.release()
    # New connections are made.
    other = storage.new_instance()
    other.poll_invalidations()
    assert other.load(OID)[0] == b"first"
    relational.commit(other, {OID: (tid, b"second")})
    other.release()


def test_no_file_stays_open(storage: Any) -> None:
    opened = OpenedConnections(storage)
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        instance = storage.new_instance()
        instance.poll_invalidations()
        assert instance.lastTransaction() is not None
        opened.cut()
        instance.release()
    del instance
    gc.collect()
    assert len(os.listdir("/dev/fd")) == before
