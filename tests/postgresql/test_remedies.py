"""Mistakes in a configuration are said in one line, with the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from twisted.internet import reactor
from ZODB.config import storageFromString

from tests.postgresql.relational import open_relstorage
from tests.postgresql.server import PostgreSQLServer
from zeotwisted.daemon.opening import StartError, open_storages
from zeotwisted.daemon.reactorwatch import ReactorWatch
from zeotwisted.postgresql import connect, explain, install
from zeotwisted.storageserver import NotServable
from zeotwisted.storageserver.engine import choose_engine

SECTION = """
%import relstorage
<relstorage>
 {options}
 <postgresql>
  driver psycopg2
  dsn {dsn}
 </postgresql>
</relstorage>
"""


class Opener:
    """Opens a storage as the daemon does."""

    name = "main"
    section = None

    def __init__(self, dsn: str, options: str) -> None:
        self._text = SECTION.format(dsn=dsn, options=options)

    def open(self) -> Any:
        return storageFromString(self._text)


def said(dsn: str, options: str = "") -> str:
    """Return what the daemon says when it cannot start."""
    with pytest.raises((StartError, NotServable)) as caught:
        storages = open_storages([Opener(dsn, options)], ReactorWatch(reactor))  # type: ignore[list-item]
        with closing(storages["main"]) as storage:
            choose_engine("main", storage, reactor)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def standby() -> Iterator[str]:
    """The data source of a standby."""
    with PostgreSQLServer() as primary:
        dsn = primary.new_database()
        open_relstorage(dsn, True).close()
        with primary.standby() as server:
            yield server.dsn(dsn.rpartition("=")[2])


@pytest.mark.parametrize("options", ["", "read-only true"])
def test_a_standby(postgresql: PostgreSQLServer, standby: str, options: str) -> None:
    text = said(standby, options)
    assert "use the data source of the primary server" in text
    assert "create-schema false and read-only true" in text


@pytest.mark.parametrize(("kept", "written"), [(True, "false"), (False, "true")])
def test_the_other_kind_of_history(dsn: str, kept: bool, written: str) -> None:
    open_relstorage(dsn, kept).close()
    other = f"keep-history {written}"
    for options in (other, f"{other}\n create-schema false"):
        assert f"write keep-history {str(kept).lower()}" in said(dsn, options)
    # Nothing is changed by that.
    open_relstorage(dsn, kept).close()


@pytest.mark.parametrize("options", ["", "create-schema false"])
@pytest.mark.parametrize("table", [False, True])
def test_a_role_without_rights(
    postgresql: PostgreSQLServer, dsn: str, options: str, table: bool
) -> None:
    open_relstorage(dsn, True).close()
    with closing(connect(dsn)) as connection:
        install(connection)
        connection.execute("DROP ROLE IF EXISTS idle")
        connection.execute("CREATE ROLE idle LOGIN")
        if table:
            connection.execute("GRANT ALL ON zeotwisted_commit TO idle")
        try:
            text = said(postgresql.dsn(dsn.rpartition("=")[2], "idle"), options)
        finally:
            connection.execute("DROP OWNED BY idle")
    assert "permission denied for" in text
    assert "use the role that owns the tables; or GRANT ALL" in text


@pytest.mark.parametrize(
    "reason", ["fe_sendauth: no password supplied", "password authentication failed"]
)
def test_a_password(reason: str) -> None:
    text = f'connection to server at "127.0.0.1", port 5432 failed: {reason}\n'
    explained = explain(Exception(text))
    assert explained is not None and "~/.pgpass" in explained and "\n" not in explained


def test_no_server(postgresql: PostgreSQLServer) -> None:
    assert "check the data source" in said("host=127.0.0.1 port=1 user=zodb dbname=zodb")
    assert 'database "nowhere" does not exist; check' in said(postgresql.dsn("nowhere"))
