"""RelStorage on a PostgreSQL of our own, which is made for one run and removed after it.

With its default settings it is comparable to the others: it keeps old revisions, it waits for the
disk before it answers a commit, and it is reached by TCP.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import closing
from typing import Any

from tests.postgresql.server import PostgreSQLServer, missing_programs

_SECTION = """
%import relstorage
<relstorage 1>
 cache-local-mb 1
 <postgresql>
  driver psycopg2
  dsn {dsn}
 </postgresql>
</relstorage>
"""

__all__ = ["RelationalStorage", "missing", "open_storage", "start", "start_daemons"]


def missing() -> str | None:
    """Say in a few words what has to be installed, if anything."""
    for module in ("relstorage", "psycopg2"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    return missing_programs()


def start(path: str) -> tuple[str, Callable[[], None]]:
    """Serve a copy of the FileStorage at `path`; return the data source, and what ends it."""
    server = PostgreSQLServer(fsync=True, settings={"max_connections": "100"})
    try:
        _fill(server.dsn(), path)
    except BaseException:
        server.remove()
        raise
    return server.dsn(), server.remove


def start_daemons(path: str, count: int) -> tuple[list[tuple[str, int]], Callable[[], None]]:
    """Serve a copy of the FileStorage at `path` by daemons over one PostgreSQL.

    Return the addresses of the daemons, and what ends them.
    """
    import zeotwisted
    from zeotwisted.postgresql import connect, install

    dsn, remove = start(path)
    stops = [remove]
    try:
        with closing(connect(dsn)) as connection:
            install(connection)
        addresses = []
        for _ in range(count):
            address, stop = zeotwisted.server(storage_conf=_SECTION.format(dsn=dsn), threaded=False)
            addresses.append(address)
            stops.append(stop)
    except BaseException:
        _stop(stops)
        raise
    return addresses, lambda: _stop(stops)


def _stop(stops: list[Callable[[], None]]) -> None:
    while stops:
        stops.pop()()


def _fill(dsn: str, path: str) -> None:
    import psycopg2
    from ZODB.FileStorage import FileStorage

    storage = open_storage(dsn, 0)
    original = FileStorage(path, read_only=True)
    storage.copyTransactionsFrom(original)
    original.close()
    storage.close()
    # What it would do by itself in a while.
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE")
    connection.close()


def open_storage(dsn: str, cache_size: int) -> Any:
    from relstorage.adapters.postgresql import PostgreSQLAdapter
    from relstorage.options import Options
    from relstorage.storage import RelStorage

    options = Options(cache_local_mb=cache_size // 2**20, driver="psycopg2")
    return RelStorage(PostgreSQLAdapter(dsn=dsn, options=options), options=options)


class RelationalStorage:
    """RelStorage, used as ZODB does: one instance for a connection, which sees one snapshot."""

    def __init__(self, dsn: str, cache_size: int) -> None:
        self._storage = open_storage(dsn, cache_size)
        self._instance = self._storage.new_instance()
        self._instance.poll_invalidations()
        for name in (
            "lastTransaction",
            "new_oid",
            "store",
            "tpc_finish",
            "tpc_vote",
        ):
            setattr(self, name, getattr(self._instance, name))

    def newTransaction(self) -> None:
        """Look for changes, as a connection does when its transaction begins."""
        self._instance.sync(True)
        self._instance.poll_invalidations()

    def tpc_begin(self, transaction: Any) -> None:
        self.newTransaction()
        self._instance.tpc_begin(transaction)

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        return (*self._instance.load(oid), None)

    def prefetch(self, oids: list[bytes], tid: bytes) -> None:
        self._instance.prefetch(oids)

    def close(self) -> None:
        self._instance.close()
        self._storage.close()
