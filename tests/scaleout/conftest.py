"""A PostgreSQL that may be restarted and killed, and clients of daemons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import ZODB
from transaction import TransactionManager

import zeotwisted
from tests.postgresql.server import PostgreSQLServer, missing_programs

from .cluster import new_server

__all__ = ["Application"]


class Application:
    """An application with a client of its own.

    :ivar storage: the client.
    """

    def __init__(self, addresses: Any, **options: Any) -> None:
        self.storage = zeotwisted.client(addresses, **{"wait_timeout": 30, **options})
        self.database = ZODB.DB(self.storage)
        self.manager = TransactionManager()
        self.connection = self.database.open(self.manager)

    def _place(self, box: str | None) -> Any:
        root = self.connection.root()
        return root if box is None else root[box]

    def set(self, key: str, value: object, box: str | None = None) -> None:
        """Change one thing in a transaction, in the root or in an object in it."""
        self.manager.begin()
        try:
            self._place(box)[key] = value
            self.manager.commit()
        except BaseException:
            self.manager.abort()
            raise

    def get(self, key: str, box: str | None = None) -> Any:
        """Return it as it is at the begin of a new transaction."""
        self.manager.begin()
        return self._place(box).get(key)

    def close(self) -> None:
        """End it, also in the midst of something."""
        with suppress(Exception):
            self.manager.abort()
            self.connection.close()
        self.database.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgreSQLServer]:
    """A server that no other test uses at the same time."""
    reason = missing_programs()
    if reason is not None:
        pytest.skip(reason)
    for module in ("psycopg", "psycopg2", "relstorage"):
        pytest.importorskip(module)
    with new_server() as server:
        yield server


@pytest.fixture
def application() -> Iterator[Callable[..., Application]]:
    """Make applications, which are closed at the end."""
    with ExitStack() as stack:

        def make(addresses: Any, **options: Any) -> Application:
            made = Application(addresses, **options)
            stack.callback(made.close)
            return made

        yield make
