"""Databases of PostgreSQL with what RelStorage and its daemon need in them."""

from __future__ import annotations

from contextlib import closing

from tests.postgresql.server import PostgreSQLServer

__all__ = ["databases"]


class Databases:
    """Makes them, as copies of one for each kind: that is faster.

    :ivar server: where to make them; see ``conftest.py``.
    """

    def __init__(self) -> None:
        self.server: PostgreSQLServer | None = None
        self._originals: dict[bool, str] = {}
        self._made: list[str] = []

    def new(self, keeps_history: bool) -> str:
        """Make one without objects; return its data source. Those of earlier tests are dropped."""
        assert self.server is not None
        if keeps_history not in self._originals:
            self._originals[keeps_history] = self._original(self.server, keeps_history)
        self._made = self.server.drop_unused(self._made)
        dsn = self.server.new_database(like=self._originals[keeps_history])
        self._made.append(_name(dsn))
        return dsn

    def _original(self, server: PostgreSQLServer, keeps_history: bool) -> str:
        from tests.postgresql.relational import open_relstorage
        from zeotwisted.postgresql import connect, install

        dsn = server.new_database()
        open_relstorage(dsn, keeps_history).close()
        with closing(connect(dsn)) as connection:
            install(connection)
        return _name(dsn)


def _name(dsn: str) -> str:
    return dsn.rpartition("dbname=")[2]


#: Those of this process.
databases = Databases()
