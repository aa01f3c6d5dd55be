"""What the contract needs beyond its classes."""

from __future__ import annotations

import pytest

from tests.postgresql.server import PostgreSQLServer

from .databases import databases


@pytest.fixture(scope="session")
def postgresql_backends(postgresql: PostgreSQLServer) -> None:
    """Let the backends on PostgreSQL make databases."""
    databases.server = postgresql
