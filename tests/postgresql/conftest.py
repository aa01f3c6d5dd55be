"""What tests with a database need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.postgresql.server import PostgreSQLServer
from zeotwisted.postgresql import connect


@pytest.fixture(params=[True, False], ids=["history", "history-free"])
def keep_history(request: pytest.FixtureRequest) -> bool:
    kept: bool = request.param
    return kept


@pytest.fixture
def dsn(postgresql: PostgreSQLServer) -> str:
    """An empty database."""
    return postgresql.new_database()


@pytest.fixture
def storage(dsn: str, keep_history: bool) -> Iterator[Any]:
    """RelStorage on it; its tables are there, and no objects."""
    from tests.postgresql.relational import open_relstorage

    with closing(open_relstorage(dsn, keep_history)) as storage:
        yield storage


@pytest.fixture
def connection(dsn: str, storage: Any) -> Iterator[Any]:
    """A connection of ours to the database with RelStorage's tables."""
    with closing(connect(dsn)) as connection:
        yield connection
