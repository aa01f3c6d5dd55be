"""A client that lists several daemons does not mix their databases."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import pytest
from ZODB.DB import DB
from ZODB.utils import maxtid, z64

import zeotwisted
from tests.postgresql.relational import open_relstorage
from tests.postgresql.server import PostgreSQLServer
from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.postgresql import connect, install

SECTION = """
%import relstorage
<relstorage 1>
 <postgresql>
  driver psycopg2
  dsn {}
 </postgresql>
</relstorage>
"""


@pytest.fixture
def serve(postgresql: PostgreSQLServer) -> Any:
    """Returns a function that serves a data source, and returns the address and what stops it."""
    with ExitStack() as stack:

        def serve(dsn: str) -> tuple[Any, Callable[[], None]]:
            address, stop = zeotwisted.server(storage_conf=SECTION.format(dsn), threaded=False)
            stack.callback(stop)
            return address, stop

        yield serve


def database(postgresql: PostgreSQLServer) -> str:
    """Return the data source of a new database that is set up."""
    dsn = postgresql.new_database()
    open_relstorage(dsn, True).close()
    with closing(connect(dsn)) as connection:
        install(connection)
    return dsn


def open_client(served: list[tuple[Any, Callable[[], None]]], **options: Any) -> Any:
    """Return a client of all of them that uses the first one."""
    addresses = [address for address, _ in served]
    storage = zeotwisted.ClientStorage(addresses[0], **options)
    storage.new_addr(addresses)
    return storage


def test_another_database_is_not_used(postgresql: PostgreSQLServer, serve: Any) -> None:
    served = [serve(database(postgresql)) for _ in range(2)]
    with closing(open_client(served, wait_timeout=2)) as storage:
        DB(storage)
        served[0][1]()
        with pytest.raises(ClientDisconnected, match="serves another database than the server"):
            storage.loadBefore(b"\0" * 7 + b"\1", maxtid)


def test_another_daemon_of_the_same_database_is_used(
    postgresql: PostgreSQLServer, serve: Any
) -> None:
    dsn = database(postgresql)
    served = [serve(dsn) for _ in range(2)]
    with closing(open_client(served, wait_timeout=30)) as storage:
        DB(storage)
        served[0][1]()
        assert storage.loadBefore(z64, maxtid)[2] is None
